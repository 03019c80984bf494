/*
 * test/sim/report.h - what all runs together came to: for people, and one line of JSON for documents.
 */
#ifndef SLUICE_TEST_SIM_REPORT_H
#define SLUICE_TEST_SIM_REPORT_H

#include "run.h"

struct report {
    uint64_t seeds, failed;
    uint64_t operations, requests, attempts, deliveries, turns, records;
    uint64_t restarts, refused_starts, snapshots, moved, released, audits, replays;
    uint64_t shares, guarded, budgeted, failed_over, outcomes, entries;
    uint64_t edits, moves, twins, confirmed, chores, chored, turns_of_tenants, batched;
    uint64_t damage_refused, damage_same, damage_cut, damage_salvaged;
    uint64_t happened[FAULT_KINDS];
    struct coverage coverage;
};

void report_add(struct report *r, const struct result *one);
void report_print(const struct report *r, double seconds, FILE *out);
/* Each kind of fault against each place that occurred. */
void report_print_coverage(const struct report *r, FILE *out);
/* False: the file cannot be written. */
bool report_write(const struct report *r, double seconds, uint64_t first_seed, const char *path);

#endif
