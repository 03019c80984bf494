/*
 * The real engine with all its threads for some seconds: publishers and deleters, small segments, compaction
 * that copies nearly everything forward, a snapshot every 50 ms. Each thread keeps a ledger of what it was
 * answered; at the end, and after a restart, the engine must say the same:
 *   L1  a message whose publish was answered and whose delete was not asked for is there, its body as sent;
 *   L2  a message whose delete was answered is gone;
 *   L3  the queue's count is what the ledgers add up to.
 * Two threads ask for snapshots meanwhile: each gets one that is no older than its question (L4).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "round.h"

#define PUBLISHERS     4u
#define LEDGER_MAX     200000u
#define LIVE_MAX       400u /* a thread deletes when it has more */
#define RUN_NS         (3 * NS_PER_SECOND)
#define LONGEST_NS     (60 * NS_PER_SECOND)
#define SNAPSHOT_EVERY (50 * 1000) /* us */

struct entry {
    uint64_t id;
    uint32_t size;
    bool deleted;
};

struct publisher {
    struct engine *engine;
    struct rng rng;
    unsigned number;
    atomic_bool *over;    /* borrows */
    struct entry *ledger; /* owns */
    size_t count, live;
};

/* A body that only this message has. */
static struct span body_of(const struct publisher *p, size_t index, uint32_t size, char *bytes) {
    int length = snprintf(bytes, 64, "%u/%zu/", p->number, index);
    memset(bytes + length, 'a' + (int)(index % 26), size - (size_t)length);
    return span_of(bytes, size);
}

static void publish(struct publisher *p) {
    char bytes[4096];
    uint32_t size = 64 + (uint32_t)(rng_next(&p->rng) % 2000);
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("q");
    r.in.publish.envelope.body = body_of(p, p->count, size, bytes);
    assert_int_equal(engine_call(p->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    p->ledger[p->count++] = (struct entry){.id = r.receipt.id, .size = size};
    p->live++;
    request_release(&r);
}

static void delete_any(struct publisher *p) {
    size_t at = (size_t)(rng_next(&p->rng) % p->count);
    if (p->ledger[at].deleted)
        return;
    struct request r;
    request_init(&r, REQUEST_MESSAGE_DELETE);
    r.name = span_text("q");
    r.id = p->ledger[at].id;
    assert_int_equal(engine_call(p->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    p->ledger[at].deleted = true;
    p->live--;
    request_release(&r);
}

static void *publisher_main(void *arg) {
    struct publisher *p = arg;
    while (!atomic_load(p->over) && p->count < LEDGER_MAX) {
        publish(p);
        while (p->live > LIVE_MAX)
            delete_any(p);
    }
    return NULL;
}

static void on_failed(void *context, const char *message) {
    (void)context;
    fail_msg("the log failed: %s", message);
}

static struct engine *open_engine(const char *directory) {
    struct engine_options options = {
        .directory = directory,
        .segment_bytes = 64u << 10,
        .compact_live_share = 0.8,
        .in_place = true,
        .failed = on_failed,
    };
    struct engine_recovery recovery;
    struct engine *e;
    char text[512];
    int error = engine_open(&options, &recovery, text, &e);
    if (error != 0)
        fail_msg("open: %d: %s", error, text);
    return e;
}

static void define_queue(struct engine *e) {
    struct queue_def def;
    assert_int_equal(queue_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("q")), 0);
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("q");
    r.in.define.queue = &def;
    assert_int_equal(engine_call(e, &r), 0);
    request_release(&r);
    queue_def_release(&def);
}

/* Asked for and read; a body may move between the two. */
static int read_back(struct engine *e, uint64_t id, struct buffer *bytes,
                     struct stored_message *ret) {
    int error = E_NOT_FOUND;
    for (unsigned tries = 0; tries < 3 && error == E_NOT_FOUND; tries++) {
        struct request r;
        request_init(&r, REQUEST_MESSAGE_GET);
        r.name = span_text("q");
        r.id = id;
        assert_int_equal(engine_call(e, &r), 0);
        enum refusal refusal = r.refusal;
        uint64_t address = r.out.message.address;
        request_release(&r);
        if (refusal != REFUSAL_NONE)
            return E_NOT_FOUND;
        buffer_clear(bytes);
        error = engine_read_message(e, id, address, bytes, ret);
    }
    return error;
}

static void check_ledger(struct engine *e, const struct publisher *p) {
    char expected[4096];
    struct buffer bytes;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    for (size_t i = 0; i < p->count; i++) {
        struct stored_message stored;
        int error = read_back(e, p->ledger[i].id, &bytes, &stored);
        if (p->ledger[i].deleted) { /* L2 */
            assert_int_equal(error, E_NOT_FOUND);
            continue;
        }
        assert_int_equal(error, 0); /* L1 */
        assert_true(span_equal(stored.envelope.body, body_of(p, i, p->ledger[i].size, expected)));
    }
    buffer_release(&bytes);
}

static void check(struct engine *e, const struct publisher *publishers) {
    size_t live = 0;
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        check_ledger(e, &publishers[i]);
        live += publishers[i].live;
    }
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text("q");
    assert_int_equal(engine_call(e, &r), 0);
    assert_int_equal(r.out.queue.ready, live); /* L3 */
    request_release(&r);
}

static void snapshot_as_asked(struct engine *e) {
    struct engine_stats before, after;
    engine_stats(e, &before);
    assert_int_equal(engine_snapshot(e), 0);
    engine_stats(e, &after);
    assert_true(after.snapshot_position >= before.durable_position); /* L4 */
}

struct asker {
    struct engine *engine;
    atomic_bool *over; /* borrows */
};

static void *asker_main(void *arg) {
    struct asker *a = arg;
    while (!atomic_load(a->over))
        snapshot_as_asked(a->engine);
    return NULL;
}

/* Enough of what this is about, however slow the machine is. */
static bool has_worked(struct engine *e) {
    struct engine_stats s;
    engine_stats(e, &s);
    return s.snapshots > 5 && s.moved_messages > 0 && s.released_segments > 0;
}

static void run(struct engine *e, struct publisher *publishers) {
    pthread_t threads[PUBLISHERS], second;
    atomic_bool over = false;
    struct asker asker = {e, &over};
    uint64_t begun_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        struct publisher *p = &publishers[i];
        *p = (struct publisher){.engine = e, .number = i, .over = &over};
        rng_init(&p->rng, crash_seed(i + 1));
        p->ledger = calloc(LEDGER_MAX, sizeof(*p->ledger));
        assert_non_null(p->ledger);
        assert_int_equal(pthread_create(&threads[i], NULL, publisher_main, p), 0);
    }
    assert_int_equal(pthread_create(&second, NULL, asker_main, &asker), 0);
    while (clock_monotonic_ns() < begun_ns + RUN_NS ||
           (!has_worked(e) && clock_monotonic_ns() < begun_ns + LONGEST_NS)) {
        snapshot_as_asked(e);
        usleep(SNAPSHOT_EVERY);
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(second, NULL);
}

static void ledgers_agree_after_compaction_and_snapshots_under_load(void **state) {
    (void)state;
    char directory[] = "/tmp/sluice-load-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct publisher publishers[PUBLISHERS];
    struct engine *e = open_engine(directory);
    define_queue(e);
    run(e, publishers);
    struct engine_stats stats;
    engine_stats(e, &stats);
    print_message("%llu records, %llu snapshots, %llu messages moved, %llu segments released\n",
                  (unsigned long long)stats.records, (unsigned long long)stats.snapshots,
                  (unsigned long long)stats.moved_messages,
                  (unsigned long long)stats.released_segments);
    assert_true(has_worked(e));
    check(e, publishers);
    for (unsigned i = 0; i < 2; i++) {
        engine_close(e, i == 1);
        e = open_engine(directory);
        check(e, publishers);
    }
    engine_close(e, false);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        free(publishers[i].ledger);
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ledgers_agree_after_compaction_and_snapshots_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
