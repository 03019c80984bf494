#include "push.h"

#include <assert.h>

struct pace_def push_pace(uint32_t count, uint32_t burst) {
    return (struct pace_def){.count = count, .period_ns = NS_PER_SECOND, .burst = burst};
}

enum refusal push_define_destination(struct world *w, const char *name, struct pace_def pace) {
    return push_define_more(w, name, pace, NULL, NULL);
}

enum refusal push_define_more(struct world *w, const char *name, struct pace_def pace,
                              push_more *more, void *context) {
    struct destination_def def;
    int rc = destination_def_init(&def);
    rc = rc != 0 ? rc : def_set_text(&def.name, span_text(name));
    rc = rc != 0 ? rc : def_set_text(&def.url, span_text("http://provider.example/send"));
    assert(rc == 0);
    def.pace = pace;
    if (more != NULL) {
        more(&def, context);
    }
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text(name);
    r.in.define.destination = &def;
    enum refusal refusal = world_ask(w, &r);
    request_release(&r);
    destination_def_release(&def);
    return refusal;
}

enum refusal push_define_queue(struct world *w, const char *name, const char *destination,
                               struct pace_def own, const struct retry_def *retry) {
    struct queue_def def = world_queue_def(name, destination);
    def.pace = own;
    if (retry != NULL) {
        char *none = def.retry.statuses;
        def.retry = *retry;
        def.retry.statuses = none;
    }
    return world_define(w, &def);
}

enum refusal push_ask_name(struct world *w, enum request_kind kind, const char *name) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text(name);
    enum refusal refusal = world_ask(w, &r);
    request_release(&r);
    return refusal;
}

struct destination_info push_info(struct world *w, const char *name) {
    struct request r;
    request_init(&r, REQUEST_DESTINATION_GET);
    r.name = span_text(name);
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    struct destination_info info = r.out.destination;
    request_release(&r);
    return info;
}

uint64_t push_publish(struct world *w, const char *queue) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = span_text(queue);
    r.in.publish.queue = span_text(queue);
    r.in.publish.envelope.body = span_text("{}");
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    uint64_t id = r.receipt.id;
    request_release(&r);
    return id;
}

static bool start(struct world *w, uint16_t facts_before, struct attempt_start *ret) {
    world_run_timers(w); /* starts come after what is due */
    do {
        struct decision d = world_begin(w);
        d.fact_count = facts_before;
        if (!model_decide_start(w->model, &d, ret)) {
            assert(d.fact_count == facts_before);
            return false;
        }
        world_commit(w, &d);
    } while (ret->message == 0); /* a retry was put off */
    return true;
}

bool push_start(struct world *w, struct attempt_start *ret) {
    return start(w, 0, ret);
}

bool push_start_ahead(struct world *w, struct attempt_start *ret) {
    return start(w, 1, ret);
}

static void finish(struct world *w, const struct attempt_start *start, uint16_t status,
                   uint64_t retry_after_ns, uint64_t duration_ns) {
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){
        .message = start->message,
        .attempt = start->attempt,
        .status = status,
        .error = status == 0 ? ATTEMPT_CONNECT : ATTEMPT_OK,
        .retriable = status == 0 || status == 429 || status >= 500,
        .success = status >= 200 && status <= 299,
        .duration_ns = duration_ns,
        .retry_after_ns = retry_after_ns,
        .excerpt = span_text("what it said"),
    };
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
}

void push_finish(struct world *w, const struct attempt_start *start, uint16_t status,
                 uint64_t retry_after_ns) {
    finish(w, start, status, retry_after_ns, 20 * NS_PER_MS);
}

void push_finish_after(struct world *w, const struct attempt_start *start, uint16_t status,
                       uint64_t duration_ns) {
    finish(w, start, status, 0, duration_ns);
}

uint32_t push_recover(struct world *w) {
    for (uint32_t count = 0;; count++) {
        struct decision d = world_begin(w);
        if (!model_decide_recovery(w->model, &d)) {
            return count;
        }
        world_commit(w, &d);
    }
}

struct message_info push_message(struct world *w, uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = id;
    enum refusal refusal = world_ask(w, &r);
    struct message_info info = r.out.message;
    if (refusal != REFUSAL_NONE) {
        info = (struct message_info){.state = MESSAGE_DONE};
    }
    request_release(&r);
    return info;
}
