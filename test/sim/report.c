#include "report.h"

#include <inttypes.h>

void report_add(struct report *r, const struct result *one) {
    r->seeds++;
    r->failed += !one->done;
    r->operations += one->operations;
    r->requests += one->requests;
    r->attempts += one->attempts;
    r->deliveries += one->deliveries;
    r->turns += one->turns;
    r->records += one->records;
    r->restarts += one->restarts;
    r->refused_starts += one->refused_starts;
    r->snapshots += one->snapshots;
    r->moved += one->moved;
    r->released += one->released;
    r->shares += one->shares;
    r->guarded += one->guarded;
    r->budgeted += one->budgeted;
    r->failed_over += one->failed_over;
    r->outcomes += one->outcomes;
    r->entries += one->entries;
    r->edits += one->edits;
    r->moves += one->moves;
    r->twins += one->twins;
    r->confirmed += one->confirmed;
    r->chores += one->chores;
    r->chored += one->chored;
    r->turns_of_tenants += one->turns_of_tenants;
    r->batched += one->batched;
    r->audits += one->audits;
    r->replays += one->replays;
    r->damage_refused += one->damage_refused;
    r->damage_same += one->damage_same;
    r->damage_cut += one->damage_cut;
    r->damage_salvaged += one->damage_salvaged;
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        r->happened[k] += one->happened[k];
    coverage_add(&r->coverage, &one->coverage);
}

void report_print(const struct report *r, double seconds, FILE *out) {
    fprintf(out,
            "%" PRIu64 " seeds, %" PRIu64 " operations (%" PRIu64 " requests, %" PRIu64
            " attempts, %" PRIu64 " deliveries), %.1f s, %.1f seeds/s, %.0f operations/s\n",
            r->seeds, r->operations, r->requests, r->attempts, r->deliveries, seconds,
            (double)r->seeds / seconds, (double)r->operations / seconds);
    fprintf(out,
            "%" PRIu64 " restarts, %" PRIu64 " starts that a fault stopped, %" PRIu64
            " audits, %" PRIu64 " comparisons with a replay of the whole log\n",
            r->restarts, r->refused_starts, r->audits, r->replays);
    fprintf(out,
            "damage: %" PRIu64 " refused, %" PRIu64 " did not matter, %" PRIu64
            " cut at the end; %" PRIu64 " salvaged\n",
            r->damage_refused, r->damage_same, r->damage_cut, r->damage_salvaged);
    fprintf(out,
            "starts: %" PRIu64 " where a share was due, %" PRIu64
            " as probes of a breaker, %" PRIu64 " of retries at their budget, %" PRIu64
            " at the second destination; %" PRIu64 " outcomes, %" PRIu64 " audit entries\n",
            r->shares, r->guarded, r->budgeted, r->failed_over, r->outcomes, r->entries);
    fprintf(out,
            "messages worked on: %" PRIu64 " edits, %" PRIu64 " moves, %" PRIu64
            " jobs with %" PRIu64 " messages; %" PRIu64 " confirmed, %" PRIu64
            " of a key that stood, %" PRIu64 " in another one's request, %" PRIu64
            " turns of tenants compared\n",
            r->edits, r->moves, r->chores, r->chored, r->confirmed, r->twins, r->batched,
            r->turns_of_tenants);
    fprintf(out, "faults:");
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        fprintf(out, " %s %" PRIu64, fault_name((enum fault_kind)k), r->happened[k]);
    fprintf(out, "\n%" PRIu64 " failed\n", r->failed);
}

void report_print_coverage(const struct report *r, FILE *out) {
    fprintf(out, "%-38s %9s", "place", "seen");
    for (unsigned k = 0; k <= FAULT_SLOW; k++)
        fprintf(out, " %8s", fault_name((enum fault_kind)k));
    for (unsigned k = FAULT_FLIP; k < FAULT_KINDS; k++)
        fprintf(out, " %8s", fault_name((enum fault_kind)k));
    fprintf(out, "\n");
    for (unsigned site = 0; site < SITES; site++) {
        char name[SITE_NAME_BYTES];
        if (r->coverage.seen[site] == 0)
            continue;
        site_name(site, name);
        fprintf(out, "%-38s %9u", name, r->coverage.seen[site]);
        for (unsigned k = 0; k < FAULT_KINDS; k++)
            if (k <= FAULT_SLOW || k >= FAULT_FLIP) {
                if (site_can_meet(site, (enum fault_kind)k))
                    fprintf(out, " %8u", r->coverage.hit[site][k]);
                else
                    fprintf(out, " %8s", "-");
            }
        fprintf(out, "\n");
    }
}

bool report_write(const struct report *r, double seconds, uint64_t first_seed, const char *path) {
    FILE *out = fopen(path, "w");
    if (out == NULL)
        return false;
    fprintf(out,
            "{\"firstSeed\": %" PRIu64 ", \"seeds\": %" PRIu64 ", \"failed\": %" PRIu64
            ", \"operations\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"attempts\": %" PRIu64,
            first_seed, r->seeds, r->failed, r->operations, r->requests, r->attempts);
    fprintf(out,
            ", \"records\": %" PRIu64 ", \"restarts\": %" PRIu64 ", \"stoppedStarts\": %" PRIu64
            ", \"snapshots\": %" PRIu64 ", \"movedMessages\": %" PRIu64
            ", \"releasedSegments\": %" PRIu64,
            r->records, r->restarts, r->refused_starts, r->snapshots, r->moved, r->released);
    fprintf(out,
            ", \"starts\": {\"shares\": %" PRIu64 ", \"probes\": %" PRIu64
            ", \"budgeted\": %" PRIu64 ", \"failedOver\": %" PRIu64 "}, \"outcomes\": %" PRIu64
            ", \"auditEntries\": %" PRIu64,
            r->shares, r->guarded, r->budgeted, r->failed_over, r->outcomes, r->entries);
    fprintf(out,
            ", \"messages\": {\"edits\": %" PRIu64 ", \"moves\": %" PRIu64 ", \"jobs\": %" PRIu64
            ", \"byJobs\": %" PRIu64 ", \"confirmed\": %" PRIu64 ", \"twins\": %" PRIu64
            ", \"batched\": %" PRIu64 ", \"turns\": %" PRIu64 "}",
            r->edits, r->moves, r->chores, r->chored, r->confirmed, r->twins, r->batched,
            r->turns_of_tenants);
    fprintf(out, ", \"audits\": %" PRIu64 ", \"replays\": %" PRIu64 ", \"seconds\": %.1f",
            r->audits, r->replays, seconds);
    fprintf(out,
            ", \"damage\": {\"refused\": %" PRIu64 ", \"harmless\": %" PRIu64 ", \"cut\": %" PRIu64
            ", \"salvaged\": %" PRIu64 "}, \"faults\": {",
            r->damage_refused, r->damage_same, r->damage_cut, r->damage_salvaged);
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        fprintf(out, "%s\"%s\": %" PRIu64, k > 0 ? ", " : "", fault_name((enum fault_kind)k),
                r->happened[k]);
    fprintf(out, "}}\n");
    return fclose(out) == 0;
}
