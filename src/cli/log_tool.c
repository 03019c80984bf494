#include "cli/log_tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "log/verify.h"
#include "model/fact.h"

static void time_text(uint64_t ns, char out[40]) {
    time_t seconds = (time_t)(ns / NS_PER_SECOND);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + n, 40 - n, ".%06" PRIu64 "Z", ns % NS_PER_SECOND / NS_PER_US);
}

static void print_finding(void *context, const struct log_finding *f) {
    (void)context;
    static const char *const names[] = {
        [LOG_FINDING_TORN_TAIL] = "torn tail",
        [LOG_FINDING_CORRUPT] = "corrupt",
        [LOG_FINDING_GAP] = "gap",
        [LOG_FINDING_BAD_HEADER] = "bad header",
    };
    printf("%s at offset %" PRIu64 ": %s (position %" PRIu64 "): %s\n", f->file, f->offset,
           names[f->kind], f->position, f->text);
}

static int print_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    (void)context;
    char when[40];
    time_text(r->time_ns, when);
    printf("%" PRIu64 " %s %s+%" PRIu64 " %u bytes", r->position, when, file, offset,
           r->size_bytes);
    struct span facts = r->facts;
    struct fact fact;
    while (fact_next(&facts, &fact) == 0) {
        const char *name = fact_kind_name(fact.kind);
        if (name != NULL)
            printf("  %s/%u(%zu)", name, fact.version, fact.payload.size);
        else
            printf("  0x%04x/%u(%zu)", fact.kind, fact.version, fact.payload.size);
    }
    putchar('\n');
    return ferror(stdout) ? 1 : 0;
}

struct kind_counts {
    uint64_t count[65536];
    uint64_t bytes[65536];
};

static int count_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    (void)file;
    (void)offset;
    struct kind_counts *counts = context;
    struct span facts = r->facts;
    struct fact fact;
    while (fact_next(&facts, &fact) == 0) {
        counts->count[fact.kind]++;
        counts->bytes[fact.kind] += fact.payload.size + FACT_HEADER_BYTES;
    }
    return 0;
}

static void print_counts(const struct kind_counts *counts) {
    printf("%-24s %14s %16s\n", "FACT", "COUNT", "BYTES");
    for (unsigned kind = 0; kind < 65536; kind++) {
        if (counts->count[kind] == 0)
            continue;
        const char *name = fact_kind_name(kind);
        char number[16];
        snprintf(number, sizeof(number), "0x%04x", kind);
        printf("%-24s %14" PRIu64 " %16" PRIu64 "\n", name != NULL ? name : number,
               counts->count[kind], counts->bytes[kind]);
    }
}

static void print_summary(const struct log_scan_summary *s) {
    char first[40], last[40];
    time_text(s->first_time_ns, first);
    time_text(s->last_time_ns, last);
    printf("%u segments, %" PRIu64 " records, %" PRIu64 " facts, %" PRIu64 " bytes\n", s->segments,
           s->records, s->facts, s->bytes);
    if (s->records > 0)
        printf("positions %" PRIu64 " to %" PRIu64 ", %s to %s\n", s->first_position,
               s->last_position, first, last);
    if (s->lost > 0)
        printf("%" PRIu64 " of them were given up by --salvage, positions %" PRIu64 " to %" PRIu64
               ": what they said is lost\n",
               s->lost, s->lost_first, s->lost_last);
}

const char *log_tool_reason(const char *folder, int error) {
    if (access(folder, R_OK | X_OK) != 0 && errno == EACCES)
        return "permission denied: only its owner may read it; run this as that user or root";
    return error == E_NOT_FOUND ? "there is no log here; give the data folder" : error_text(error);
}

static int scan(const char *directory, uint64_t from, const struct log_visitor *visitor,
                struct log_scan_summary *summary) {
    int error = log_scan(directory, &file_ops_system, from, visitor, summary);
    if (error != 0)
        fprintf(stderr, "sluice: %s: %s\n", directory, log_tool_reason(directory, error));
    return error;
}

/* `context`: up to where positions are missing. */
static void note_finding(void *context, const struct log_finding *f) {
    uint64_t *missing = context;
    if (f->kind == LOG_FINDING_GAP)
        *missing = f->position - 1;
    print_finding(NULL, f);
}

static int newest_snapshot(const char *directory, uint64_t *ret_position) {
    char text[512];
    int error = engine_newest_snapshot(directory, &file_ops_system, text, ret_position);
    if (error != 0)
        fprintf(stderr, "sluice: %s\n", text);
    return error;
}

static int verify(const char *directory) {
    struct log_scan_summary summary;
    uint64_t missing = 0;
    struct log_visitor visitor = {.context = &missing, .finding = note_finding};
    /* Before: a server may be at work. */
    uint64_t flushed;
    if (newest_snapshot(directory, &flushed) != 0 || scan(directory, 0, &visitor, &summary) != 0)
        return 1;
    print_summary(&summary);
    if (summary.corrupt > 0) {
        printf(
            "DAMAGED: %u places. `sluice serve --salvage` starts without them and reports what it "
            "dropped; a copy of the folder first is wise.\n",
            summary.corrupt);
        return 1;
    }
    if (flushed >= summary.next_position) {
        printf("DAMAGED: a snapshot rests on position %" PRIu64 ", and the log ends before %" PRIu64
               ": its end is damaged or missing. `sluice serve --salvage` starts without it; a "
               "copy of the folder first is wise.\n",
               flushed, summary.next_position);
        return 1;
    }
    if (missing == 0 && summary.records > 0)
        missing = summary.first_position - 1;
    /* After: segments are given back behind new snapshots. */
    if (newest_snapshot(directory, &flushed) != 0)
        return 1;
    if (missing > flushed) {
        printf("DAMAGED: positions up to %" PRIu64 " are missing, and no snapshot covers them: "
               "their segments are lost. Restore them; no start goes on without.\n",
               missing);
        return 1;
    }
    printf("sound%s\n", summary.torn > 0 ? "; the unfinished last write is cut off at the next "
                                           "start, nothing acknowledged is lost"
                                         : "");
    return 0;
}

static int stat_log(const char *directory) {
    struct kind_counts *counts = calloc(1, sizeof(*counts));
    if (counts == NULL)
        return 1;
    struct log_scan_summary summary;
    struct log_visitor visitor = {
        .context = counts, .record = count_record, .finding = print_finding};
    int error = scan(directory, 0, &visitor, &summary);
    if (error == 0) {
        print_summary(&summary);
        print_counts(counts);
    }
    free(counts);
    return error == 0 ? 0 : 1;
}

void log_tool_usage(FILE *out) {
    fputs("usage: sluice log verify|stat DATA-FOLDER\n"
          "       sluice log dump DATA-FOLDER [FIRST-POSITION]\n",
          out);
}

int log_tool_run(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[0], "verify") == 0)
        return verify(argv[1]);
    if (argc == 2 && strcmp(argv[0], "stat") == 0)
        return stat_log(argv[1]);
    char *end = NULL;
    uint64_t from = argc == 3 ? strtoull(argv[2], &end, 10) : 0;
    bool readable = argc == 2 || (argc == 3 && end != argv[2] && *end == '\0');
    if (readable && strcmp(argv[0], "dump") == 0) {
        struct log_scan_summary summary;
        struct log_visitor visitor = {.record = print_record, .finding = print_finding};
        return scan(argv[1], from, &visitor, &summary) == 0 ? 0 : 1;
    }
    log_tool_usage(stderr);
    return 2;
}
