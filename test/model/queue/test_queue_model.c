/*
 * Random operations on four queues, compared with a twin of arrays and loops.
 *
 *      test_queue_model [seed [steps]]
 *
 * After each step the touched queue's counters are compared, now and then everything is: every message,
 * the order of what is ready, model_check, a reload; some read lists page by page all the while (readers.h). At the end the whole log is
 * replayed into a fresh model. Prints the seed, which repeats the run.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "world.h"
#include "base/clock.h"
#include "model/queue.h"
#include "readers.h"
#include "twin.h"
#include "worker.h"

#define STEPS_DEFAULT 20000u
#define LIVE_MAX      600u /* beyond it only what removes is chosen: the twin is slow */

static struct world w;
static struct twin twin;
static const char *const names[TWIN_QUEUES] = {"plain", "short", "mortal", "lossy"};
static uint64_t in_flight[TWIN_MESSAGES];
static uint32_t in_flight_attempt[TWIN_MESSAGES];
static uint32_t in_flight_count;

static uint64_t pick(uint64_t bound) {
    return rng_below(&w.rng, bound);
}

static enum refusal ask(struct request *r, uint32_t queue) {
    r->name = span_text(names[queue]);
    return world_ask(&w, r);
}

/* ---- definitions ---- */

static void define_destination(void) {
    struct destination_def def;
    assert(destination_def_init(&def) == 0);
    assert(def_set_text(&def.name, span_text("out")) == 0);
    assert(def_set_text(&def.url, span_text("http://127.0.0.1:1/")) == 0);
    def.allow_private = true;
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("out");
    r.in.define.destination = &def;
    enum refusal refusal = world_ask(&w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
    destination_def_release(&def);
}

static void define_queue(uint32_t i) {
    const struct twin_queue *t = &twin.queues[i];
    struct queue_def def;
    assert(queue_def_init(&def) == 0);
    assert(def_set_text(&def.name, span_text(names[i])) == 0);
    assert(def_set_text(&def.destination, span_text("out")) == 0);
    def.max_priority = TWIN_LEVELS - 1;
    def.dead_letters = t->dead_letters;
    def.max_dead = t->max_dead;
    def.max_messages = t->max_messages;
    def.message_ttl_ns = t->ttl_ns;
    def.paused = t->paused;
    def.retry.max_attempts = 4;
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.in.define.queue = &def;
    enum refusal refusal = ask(&r, i);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
    queue_def_release(&def);
}

static void define_all(void) {
    define_destination();
    twin.queues[0] = (struct twin_queue){.dead_letters = true, .max_dead = 1000};
    twin.queues[1] = (struct twin_queue){.dead_letters = true, .max_dead = 5, .max_messages = 40};
    twin.queues[2] =
        (struct twin_queue){.dead_letters = true, .max_dead = 50, .ttl_ns = 3 * NS_PER_SECOND};
    twin.queues[3] = (struct twin_queue){.dead_letters = false, .ttl_ns = 9 * NS_PER_SECOND};
    for (uint32_t i = 0; i < TWIN_QUEUES; i++) {
        define_queue(i);
    }
}

/* ---- steps ---- */

static const char *const keys[TWIN_KEYS] = {"", "a", "b", "c", "d"};

static void step_publish(void) {
    struct twin_message t = {.queue = (uint32_t)pick(TWIN_QUEUES),
                             .key = (uint32_t)pick(TWIN_KEYS),
                             .priority = (uint8_t)pick(TWIN_LEVELS)};
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    struct publish *p = &r.in.publish;
    p->queue = span_text(names[t.queue]);
    p->priority = t.priority;
    p->schedule_ns = pick(3) == 0 ? w.now_ns + pick(2 * NS_PER_SECOND) : 0;
    p->ttl_ns = pick(4) == 0 ? 1 + pick(5 * NS_PER_SECOND) : 0;
    p->envelope.ordering_key = span_text(keys[t.key]);
    p->envelope.body = span_of("twelve bytes", 1 + pick(12));
    const struct twin_queue *q = &twin.queues[t.queue];
    bool full = q->max_messages != 0 && twin_waiting(&twin, t.queue) >= q->max_messages;
    enum refusal refusal = ask(&r, t.queue);
    assert(refusal == (full ? REFUSAL_QUEUE_FULL : REFUSAL_NONE));
    if (!full) {
        uint64_t ttl =
            q->ttl_ns == 0 || (p->ttl_ns != 0 && p->ttl_ns < q->ttl_ns) ? p->ttl_ns : q->ttl_ns;
        t.id = r.receipt.id;
        t.body_bytes = (uint32_t)p->envelope.body.size;
        t.due_ns = p->schedule_ns;
        t.expires_ns = ttl != 0 ? w.now_ns + ttl : 0;
        twin_put(&twin, &t, w.now_ns);
    }
    request_release(&r);
}

static bool any_to_start(void) {
    for (uint32_t i = 0; i < TWIN_QUEUES; i++) {
        if (!twin.queues[i].paused && twin_head(&twin, i) != 0) {
            return true;
        }
    }
    return false;
}

static void step_start(void) {
    struct decision d = world_begin(&w);
    struct attempt_start start;
    if (!model_decide_start(w.model, &d, &start)) {
        assert(!any_to_start());
        return;
    }
    const struct twin_message *t = twin_find(&twin, start.message);
    assert(t != NULL && !twin.queues[t->queue].paused);
    assert(twin_head(&twin, t->queue) == start.message);
    assert(t->expires_ns == 0 || t->expires_ns > w.now_ns);
    assert(start.attempt == t->attempts + 1);
    world_commit(&w, &d);
    twin_start(&twin, start.message);
    in_flight[in_flight_count] = start.message;
    in_flight_attempt[in_flight_count++] = start.attempt;
}

static struct message_info get(uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = id;
    enum refusal refusal = world_ask(&w, &r);
    assert(refusal == REFUSAL_NONE);
    struct message_info info = r.out.message;
    request_release(&r);
    return info;
}

static void tell_twin(uint64_t id, uint32_t attempt, bool success, bool retriable) {
    if (success) {
        twin_done(&twin, id);
    } else if (!retriable) {
        twin_bury(&twin, id, DEAD_REFUSED);
    } else if (attempt >= 4) {
        twin_bury(&twin, id, DEAD_EXHAUSTED);
    } else {
        struct message_info info = get(id); /* the delay is random */
        twin_retry(&twin, id, info.due_ns, w.now_ns);
    }
}

static void step_finish(void) {
    if (in_flight_count == 0) {
        return;
    }
    uint32_t i = (uint32_t)pick(in_flight_count);
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    struct attempt_finish *f = &r.in.finish;
    f->message = in_flight[i];
    f->attempt = in_flight_attempt[i];
    f->success = pick(2) == 0;
    f->retriable = !f->success && pick(3) != 0;
    f->status = f->success ? 200 : f->retriable ? 500 : 422;
    enum refusal refusal = world_ask(&w, &r);
    assert(refusal == REFUSAL_NONE);
    in_flight[i] = in_flight[--in_flight_count];
    in_flight_attempt[i] = in_flight_attempt[in_flight_count];
    tell_twin(f->message, f->attempt, f->success, f->retriable);
    request_release(&r);
}

static const struct twin_message *any_message(void) {
    return twin.count == 0 ? NULL : &twin.messages[pick(twin.count)];
}

static void step_delete(void) {
    const struct twin_message *t = any_message();
    if (t == NULL) {
        return;
    }
    struct request r;
    request_init(&r, REQUEST_MESSAGE_DELETE);
    r.id = t->id;
    bool busy = t->state == MESSAGE_IN_FLIGHT;
    enum refusal refusal = ask(&r, t->queue);
    assert(refusal == (busy ? REFUSAL_CONFLICT : REFUSAL_NONE));
    if (!busy) {
        twin_delete(&twin, t->id);
    }
    request_release(&r);
}

static void step_redrive_one(void) {
    const struct twin_message *t = any_message();
    if (t == NULL) {
        return;
    }
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.in.redrive.id = t->id;
    bool dead = t->state == MESSAGE_DEAD;
    enum refusal refusal = ask(&r, t->queue);
    assert(refusal == (dead ? REFUSAL_NONE : REFUSAL_CONFLICT));
    if (dead) {
        twin_redrive(&twin, t->id, w.now_ns);
    }
    request_release(&r);
}

/* ---- by people ---- */

static struct message_seen seen(const struct twin_message *t) {
    struct message_info m = get(t->id);
    return (struct message_seen){m.address, m.attempts, m.state};
}

static void step_edit(void) {
    const struct twin_message *t = any_message();
    if (t == NULL) {
        return;
    }
    struct stored_message content = {.priority = (uint8_t)pick(TWIN_LEVELS), .version = 1};
    content.envelope.ordering_key = span_text(keys[t->key]);
    content.envelope.body = span_of("quite another body", pick(18));
    struct request r;
    request_init(&r, REQUEST_MESSAGE_EDIT);
    r.id = t->id;
    r.in.edit.seen = seen(t);
    r.in.edit.content = &content;
    bool busy = t->state == MESSAGE_IN_FLIGHT;
    enum refusal refusal = ask(&r, t->queue);
    assert(refusal == (busy ? REFUSAL_CONFLICT : REFUSAL_NONE));
    if (!busy) {
        twin_edit(&twin, t->id, (uint32_t)content.envelope.body.size, content.priority);
    }
    request_release(&r);
}

static void step_move(void) {
    const struct twin_message *t = any_message();
    uint32_t to = (uint32_t)pick(TWIN_QUEUES);
    if (t == NULL || to == t->queue) {
        return;
    }
    struct stored_message stored = {.envelope.ordering_key = span_text(keys[t->key])};
    struct request r;
    request_init(&r, REQUEST_MESSAGE_TRANSFER);
    r.id = t->id;
    r.in.transfer.seen = seen(t);
    r.in.transfer.stored = &stored;
    r.in.transfer.to = span_text(names[to]);
    const struct twin_queue *q = &twin.queues[to];
    bool busy = t->state == MESSAGE_IN_FLIGHT;
    bool full = q->max_messages != 0 && twin_waiting(&twin, to) >= q->max_messages;
    enum refusal refusal = ask(&r, t->queue);
    assert(refusal == (busy ? REFUSAL_CONFLICT : full ? REFUSAL_QUEUE_FULL : REFUSAL_NONE));
    if (refusal == REFUSAL_NONE) {
        twin_move(&twin, t->id, to, w.now_ns);
    }
    request_release(&r);
}

/* All of its steps at once, and of the dead only: then it does what somebody would do by hand, one after the other. */
static void step_job(void) {
    uint32_t queue = (uint32_t)pick(2), max = 1 + (uint32_t)pick(5);
    struct worker_job job = {.queue = names[queue], .state = MESSAGE_DEAD};
    struct twin_list dead = twin.queues[queue].dead;
    uint64_t id;
    job.action = pick(2) == 0 ? JOB_REDRIVE : JOB_DISCARD;
    enum refusal refusal = worker_start(&w, job, &id);
    assert(refusal == REFUSAL_NONE);
    w.now_ns++;
    while (worker_step(&w, NULL, max, &refusal)) {
        assert(refusal == REFUSAL_NONE);
    }
    for (uint32_t i = 0; i < dead.count; i++) {
        if (job.action == JOB_REDRIVE) {
            twin_redrive(&twin, dead.ids[i], w.now_ns);
        } else {
            twin_delete(&twin, dead.ids[i]);
        }
    }
    struct job_info info = worker_look(&w, names[queue], id);
    assert(info.status == JOB_DONE && info.done == dead.count && info.total == dead.count);
}

/* With a time to live all would end at one time, in an order that nobody promises. */
static void step_redrive_many(void) {
    uint32_t queue = (uint32_t)pick(TWIN_QUEUES);
    struct twin_queue *q = &twin.queues[queue];
    uint32_t max = q->ttl_ns != 0 ? 1 : 1 + (uint32_t)pick(8);
    uint32_t count = q->dead.count < max ? q->dead.count : max;
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.in.redrive.max = max;
    bool more = q->dead.count > count;
    enum refusal refusal = ask(&r, queue);
    assert(refusal == REFUSAL_NONE && r.count == count && (r.next != 0) == more);
    for (uint32_t i = 0; i < count; i++) {
        twin_redrive(&twin, q->dead.ids[0], w.now_ns);
    }
    request_release(&r);
}

static void step_purge(void) {
    static const enum message_state states[] = {0, MESSAGE_READY, MESSAGE_DELAYED, MESSAGE_DEAD,
                                                MESSAGE_BLOCKED};
    uint32_t queue = (uint32_t)pick(TWIN_QUEUES);
    struct request r;
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.in.list.state = states[pick(5)];
    enum refusal refusal = ask(&r, queue);
    assert(refusal == REFUSAL_NONE && r.next == 0);
    uint32_t count = twin_purge(&twin, queue, r.in.list.state);
    assert(r.count == count);
    request_release(&r);
}

static void step_pause(void) {
    uint32_t queue = (uint32_t)pick(TWIN_QUEUES);
    struct twin_queue *q = &twin.queues[queue];
    q->paused = !q->paused;
    struct request r;
    request_init(&r, q->paused ? REQUEST_QUEUE_PAUSE : REQUEST_QUEUE_RESUME);
    enum refusal refusal = ask(&r, queue);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
}

static void step_define(void) {
    uint32_t queue = (uint32_t)pick(TWIN_QUEUES);
    struct twin_queue *q = &twin.queues[queue];
    q->max_dead = 1 + pick(60);
    q->dead_letters = pick(4) != 0;
    q->paused = pick(8) == 0;
    define_queue(queue);
    twin_trim_dead(&twin, queue);
}

static void step_time(void) {
    w.now_ns += pick(NS_PER_SECOND);
    uint32_t fired = world_run_timers(&w);
    uint32_t expected = twin_run_timers(&twin, w.now_ns);
    assert(fired == expected);
}

/* After a restart everything under way is of unknown outcome, and ready again. */
static void step_restart(void) {
    world_reload(&w);
    for (uint32_t i = 0; i < in_flight_count; i++) {
        struct decision d = world_begin(&w);
        bool found = model_decide_recovery(w.model, &d);
        assert(found);
        world_commit(&w, &d);
    }
    struct decision d = world_begin(&w);
    assert(!model_decide_recovery(w.model, &d));
    for (uint32_t i = 0; i < in_flight_count; i++) { /* oldest attempt first, as it was started */
        assert(get(in_flight[i]).state == MESSAGE_READY);
    }
}

/* ---- comparing ---- */

static void compare_counts(uint32_t queue) {
    uint64_t counts[8] = {0};
    for (uint32_t i = 0; i < twin.count; i++) {
        counts[twin.messages[i].queue == queue ? twin.messages[i].state : 0]++;
    }
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    enum refusal refusal = ask(&r, queue);
    assert(refusal == REFUSAL_NONE);
    const struct queue_info *q = &r.out.queue;
    assert(q->ready == counts[MESSAGE_READY] && q->delayed == counts[MESSAGE_DELAYED]);
    assert(q->in_flight == counts[MESSAGE_IN_FLIGHT] && q->dead == counts[MESSAGE_DEAD]);
    assert(q->blocked == counts[MESSAGE_BLOCKED]);
    request_release(&r);
}

static void compare_messages(void) {
    for (uint32_t i = 0; i < twin.count; i++) {
        const struct twin_message *t = &twin.messages[i];
        struct message_info info = get(t->id);
        assert(info.state == t->state && info.priority == t->priority);
        assert(info.attempts == t->attempts && info.expires_ns == t->expires_ns);
        assert(info.body_bytes == t->body_bytes);
        assert(info.due_ns == (t->state == MESSAGE_DELAYED ? t->due_ns : 0));
        assert(t->state != MESSAGE_DEAD || info.dead_reason == t->reason);
    }
}

/* Pages in order hold the ready ones in the order of leaving. */
static void compare_order(uint32_t queue) {
    struct request r;
    uint64_t after = 0, ready = 0;
    uint64_t expected[TWIN_MESSAGES];
    uint32_t expected_count = 0;
    for (uint32_t level = TWIN_LEVELS; level-- > 0;) {
        const struct twin_list *l = &twin.queues[queue].ready[level];
        for (uint32_t i = 0; i < l->count; i++) {
            expected[expected_count++] = l->ids[i];
        }
    }
    do {
        request_init(&r, REQUEST_QUEUE_MESSAGES);
        r.in.list.state = MESSAGE_READY;
        r.in.list.in_order = true;
        r.in.list.max = 1 + (uint32_t)pick(20);
        r.in.list.after = after;
        enum refusal refusal = ask(&r, queue);
        assert(refusal == REFUSAL_NONE && r.count <= r.in.list.max);
        for (uint64_t i = 0; i < r.count; i++) {
            struct message_info info;
            memcpy(&info, r.out_bytes.data + i * sizeof info, sizeof info);
            assert(ready < expected_count && expected[ready] == info.id); /* Q4 */
            ready++;
        }
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert(ready == expected_count);
}

static void compare_all(void) {
    model_check(w.model);
    compare_messages();
    for (uint32_t i = 0; i < TWIN_QUEUES; i++) {
        compare_counts(i);
        compare_order(i);
    }
}

static void step(void) {
    uint64_t choice = pick(100);
    w.now_ns += 1 + pick(1000);
    step_time();
    if (choice < 35 && twin.count < LIVE_MAX) {
        step_publish();
    } else if (choice < 60) {
        step_start();
    } else if (choice < 84) {
        step_finish();
    } else if (choice < 86) {
        step_delete();
    } else if (choice < 87) {
        step_edit();
    } else if (choice < 88) {
        step_move();
    } else if (choice < 91) {
        step_redrive_one();
    } else if (choice < 94) {
        step_redrive_many();
    } else if (choice < 95) {
        if (pick(3) == 0) {
            step_purge();
        } else {
            step_job();
        }
    } else if (choice < 97) {
        step_pause();
    } else {
        step_define();
    }
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    const struct model_limits limits = {.list_looks = 40}; /* many soon, and few again */
    uint32_t steps = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : STEPS_DEFAULT;
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    world_init(&w, &limits);
    rng_init(&w.rng, seed);
    define_all();
    for (uint32_t i = 0; i < steps; i++) {
        step();
        readers_step(&w, &twin, names);
        compare_counts((uint32_t)pick(TWIN_QUEUES));
        if (i % 97 == 0) {
            compare_all();
        }
        if (i % 1009 == 0) {
            world_reload(&w);
            readers_restart();
        }
    }
    compare_all();
    uint64_t lists = readers_end(&w, &twin, names);
    world_check_replay(&w);
    step_restart();
    model_check(w.model);
    world_check_replay(&w);
    printf("%" PRIu32 " steps, %" PRIu64 " records, %" PRIu64 " messages ended, %" PRIu32
           " left, %" PRIu64 " lists read\n",
           steps, w.position - 1, twin.gone, twin.count, lists);
    world_release(&w);
    return 0;
}
