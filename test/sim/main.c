/*
 * The simulator's command line.
 *
 *   sim --seeds 1000                 that many seeds from --from on, on --jobs processes
 *   sim --hours 1 --coverage         for as long as that, and which faults met which code
 *   sim --seed 17 [--clients 3 --operations 411 --faults 2,5]     one run, exactly as it was
 *
 * A seed that fails is printed with the line that replays it, made smaller, and printed again. SIGINT or SIGTERM
 * takes no further seeds: those that run end, then come the tables. A second one ends it at once.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool.h"
#include "report.h"
#include "shrink.h"

#define FAILURES_MAX 3u

static volatile sig_atomic_t told_to_end;

struct arguments {
    uint64_t seed, from, seeds;
    uint32_t clients, operations;
    unsigned jobs;
    double seconds; /* 0: no limit */
    const char *faults, *summary, *import, *program;
    bool one, coverage, no_shrink;
};

static const struct option options[] = {
    {"seed", required_argument, NULL, 's'},       {"seeds", required_argument, NULL, 'n'},
    {"from", required_argument, NULL, 'f'},       {"clients", required_argument, NULL, 'c'},
    {"operations", required_argument, NULL, 'o'}, {"faults", required_argument, NULL, 'F'},
    {"jobs", required_argument, NULL, 'j'},       {"seconds", required_argument, NULL, 't'},
    {"summary", required_argument, NULL, 'S'},    {"import", required_argument, NULL, 'i'},
    {"coverage", no_argument, NULL, 'C'},         {"no-shrink", no_argument, NULL, 'N'},
    {"hours", required_argument, NULL, 'H'},      {NULL, 0, NULL, 0},
};

static bool parse_one(struct arguments *a, int option, const char *value) {
    switch (option) {
    case 's':
        a->seed = strtoull(value, NULL, 10);
        a->one = true;
        return true;
    case 'n':
        a->seeds = strtoull(value, NULL, 10);
        return true;
    case 'f':
        a->from = strtoull(value, NULL, 10);
        return true;
    case 'c':
        a->clients = (uint32_t)strtoul(value, NULL, 10);
        return true;
    case 'o':
        a->operations = (uint32_t)strtoul(value, NULL, 10);
        return true;
    case 'F':
        a->faults = value;
        return true;
    case 'j':
        a->jobs = (unsigned)strtoul(value, NULL, 10);
        return true;
    case 't':
        a->seconds = strtod(value, NULL);
        return true;
    case 'H':
        a->seconds = 3600 * strtod(value, NULL);
        return true;
    case 'S':
        a->summary = value;
        return true;
    case 'i':
        a->import = value;
        return true;
    case 'C':
        a->coverage = true;
        return true;
    case 'N':
        a->no_shrink = true;
        return true;
    default:
        return false;
    }
}

static bool parse(struct arguments *a, int argc, char **argv) {
    *a = (struct arguments){
        .from = 1, .seeds = 100, .operations = PLAN_LENGTH, .jobs = 2, .program = argv[0]};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (!parse_one(a, option, optarg))
            return false;
    return optind == argc && a->clients <= PLAN_CLIENTS_MAX;
}

static bool make_plan(const struct arguments *a, uint64_t seed, struct plan *ret) {
    plan_make(ret, seed, a->clients, a->operations);
    ret->import = a->import;
    if (a->faults == NULL || plan_keep_faults(ret, a->faults))
        return true;
    fprintf(stderr, "--faults: a list of numbers, none, or all\n");
    return false;
}

static void print_failure(const struct arguments *a, const struct plan *plan,
                          const struct outcome *o, const char *title) {
    printf("%s:\n%s", title, o->text);
    printf("replay: %s ", a->program);
    plan_print_options(plan, stdout);
    printf("\n");
    fflush(stdout);
}

static void explain_failure(const struct arguments *a, struct pool *p, struct plan *plan,
                            const struct outcome *o) {
    print_failure(a, plan, o, "FAILED");
    if (a->no_shrink)
        return;
    shrink(p, plan, &o);
    print_failure(a, plan, o, "made smaller");
    plan_print(plan, stdout);
    fflush(stdout);
}

static int run_one(const struct arguments *a, struct pool *p) {
    struct plan plan;
    const struct outcome *o;
    if (!make_plan(a, a->seed, &plan))
        return 2;
    plan_print(&plan, stdout);
    bool good = pool_run_one(p, &plan, &o);
    printf("%s", o->text);
    if (!good && a->faults == NULL)
        explain_failure(a, p, &plan, o);
    printf("%s\n", good ? "all was as it must be" : "FAILED");
    return good ? 0 : 1;
}

static void hear_end(int signal) {
    (void)signal;
    told_to_end = 1;
}

/* A child has its own copy of the flag, which it never reads: it finishes its run. */
static void end_when_told(void) {
    struct sigaction action = {.sa_handler = hear_end, .sa_flags = SA_RESTART | SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct failures {
    struct plan plans[FAILURES_MAX];
    uint32_t count;
};

static void take_outcome(struct pool *p, struct report *r, struct failures *f) {
    struct plan plan;
    const struct outcome *o = pool_wait(p, &plan);
    report_add(r, o->result);
    if (!o->result->done && f->count < FAILURES_MAX)
        f->plans[f->count++] = plan;
}

static int run_many(const struct arguments *a, struct pool *p) {
    static struct report report;
    struct failures failures = {.count = 0};
    uint64_t started_ns = clock_monotonic_ns(), seed = a->from;
    double seconds = 0;
    end_when_told();
    for (;;) {
        struct plan plan;
        bool more = a->seconds > 0 ? seconds < a->seconds : seed - a->from < a->seeds;
        more = more && failures.count < FAILURES_MAX && !told_to_end;
        if (more && pool_has_place(p)) {
            if (!make_plan(a, seed++, &plan))
                return 2;
            pool_start(p, &plan);
        } else if (pool_running(p) > 0) {
            take_outcome(p, &report, &failures);
        } else {
            break;
        }
        seconds = (double)(clock_monotonic_ns() - started_ns) / NS_PER_SECOND;
    }
    for (uint32_t i = 0; i < failures.count; i++) {
        const struct outcome *o;
        if (!pool_run_one(p, &failures.plans[i], &o))
            explain_failure(a, p, &failures.plans[i], o);
    }
    if (a->coverage)
        report_print_coverage(&report, stdout);
    report_print(&report, seconds, stdout);
    if (a->summary != NULL && !report_write(&report, seconds, a->from, a->summary))
        fprintf(stderr, "%s cannot be written\n", a->summary);
    return report.failed == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct arguments a;
    if (!parse(&a, argc, argv)) {
        fprintf(
            stderr,
            "usage: %s [--seeds N] [--from N] [--seconds S | --hours H] [--jobs N] [--coverage] "
            "[--summary FILE] [--no-shrink]\n"
            "       %s --seed N [--clients N] [--operations N] [--faults LIST]\n"
            "       both: [--import FOLDER]\n",
            argv[0], argv[0]);
        return 2;
    }
    struct pool *p = pool_create(a.one ? 1 : a.jobs);
    int code = a.one ? run_one(&a, p) : run_many(&a, p);
    pool_free(p);
    return code;
}
