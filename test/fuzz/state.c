#include "state.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "model/campaign.h"
#include "base/amqp_table.h"
#include "push.h"
#include "worker.h"
#include "world.h"

#define SAVE_MAX  ((size_t)64 << 20)
#define FACTS_MAX ((size_t)16 << 20)
#define STEPS_MAX 200u /* of timers, of recovery and of starts */

/* ---- the state ---- */

static void define_campaign(struct world *w) {
    struct campaign_def def;
    int rc = campaign_def_init(&def);
    rc = rc != 0 ? rc : def_set_text(&def.name, span_text("giveaway"));
    rc = rc != 0 ? rc : def_set_text(&def.stock, span_text("vouchers"));
    rc = rc != 0 ? rc : def_set_text(&def.queue, span_text("mail"));
    rc = rc != 0 ? rc : def_set_text(&def.member_pointer, span_text("/member"));
    assert(rc == 0);
    def.safety_stock = 1;
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_DEFINE);
    r.name = span_text("giveaway");
    r.in.define.campaign = &def;
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
    campaign_def_release(&def);
}

static uint32_t campaign_generation(struct world *w) {
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_GET);
    r.name = span_text("giveaway");
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    uint32_t generation = r.generation;
    request_release(&r);
    return generation;
}

static void enter(struct world *w, const char *member, const char *key) {
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTER);
    r.name = span_text("giveaway");
    r.in.enter.member = span_text(member);
    r.in.enter.generation = campaign_generation(w);
    r.in.enter.envelope.body = span_text("{\"member\":\"m\"}");
    r.idempotency = (struct idempotency){.key = span_text(key), .scope = 7, .fingerprint = 9};
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
}

static void publish(struct world *w, const char *queue, const char *key, uint64_t delay_ns,
                    uint64_t ttl_ns, uint8_t priority) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text(queue);
    r.in.publish.schedule_ns = delay_ns != 0 ? w->now_ns + delay_ns : 0;
    r.in.publish.ttl_ns = ttl_ns;
    r.in.publish.priority = priority;
    r.in.publish.envelope = (struct envelope){
        .content_type = span_text("text/plain"),
        .ordering_key = span_text(key),
        .headers = span_text("X-One: 1\n"),
        .body = span_text("a body"),
    };
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
}

static void stock_ask(struct world *w, enum request_kind kind, const char *stock,
                      const char *purchase, const char *member) {
    struct request r;
    request_init(&r, kind);
    r.name = r.in.reserve.stock = span_text(stock);
    r.in.reserve.purchase = span_text(purchase);
    r.in.reserve.member = span_text(member);
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
}

/* Reserve and send, with the unit given back when the message ends dead; and a key of the caller's. */
static void transact(struct world *w, const char *purchase) {
    struct operation operations[3] = {
        {.kind = OPERATION_RESERVE,
         .reserve = {.stock = span_text("vouchers"), .purchase = span_text(purchase)}},
        {.kind = OPERATION_ENQUEUE,
         .enqueue = {.queue = span_text("mail"), .envelope.body = span_text("{}")},
         .compensate_stock = span_text("vouchers"),
         .compensate_purchase = span_text(purchase)},
        {.kind = OPERATION_DEDUP,
         .dedup_key = span_text(purchase),
         .dedup_ttl_ns = 60 * NS_PER_SECOND},
    };
    struct request r;
    request_init(&r, REQUEST_TRANSACTION);
    r.in.transaction.operations = operations;
    r.in.transaction.count = 3;
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
}

static void define_all(struct world *w) {
    const struct retry_def once = {
        .max_attempts = 2, .min_backoff_ns = NS_PER_SECOND, .max_backoff_ns = 9 * NS_PER_SECOND};
    enum refusal refusal = push_define_destination(w, "provider", push_pace(500, 4));
    assert(refusal == REFUSAL_NONE);
    refusal = push_define_queue(w, "mail", "provider", push_pace(0, 0), &once);
    assert(refusal == REFUSAL_NONE);
    refusal = world_define_queue(w, "store", 100);
    assert(refusal == REFUSAL_NONE);
    refusal = world_define_stock(w, "vouchers", 20, 0, 0);
    assert(refusal == REFUSAL_NONE);
    refusal = world_define_stock(w, "tickets", 4, 2, 60 * NS_PER_SECOND);
    assert(refusal == REFUSAL_NONE);
    define_campaign(w);
}

static void fill_stocks(struct world *w) {
    stock_ask(w, REQUEST_STOCK_RESERVE, "tickets", "p-1", "anna");
    stock_ask(w, REQUEST_STOCK_RESERVE, "tickets", "p-2", "anna");
    stock_ask(w, REQUEST_STOCK_RESERVE, "tickets", "p-3", "ben");
    stock_ask(w, REQUEST_STOCK_CONFIRM, "tickets", "p-1", "");
    stock_ask(w, REQUEST_STOCK_RELEASE, "tickets", "p-2", "");
    stock_ask(w, REQUEST_STOCK_RELEASE, "tickets", "never-bought", "");
    stock_ask(w, REQUEST_STOCK_RESERVE, "vouchers", "a-purchase-number-that-takes-an-allocation",
              "");
}

static void fill_queues(struct world *w) {
    publish(w, "store", "", 0, 0, 3);
    publish(w, "store", "", 60 * NS_PER_SECOND, 0, 0);
    publish(w, "store", "", 0, 120 * NS_PER_SECOND, 9);
    publish(w, "store", "order-1", 0, 0, 0);
    publish(w, "store", "order-1", 0, 0, 0);
    publish(w, "mail", "order-2", 0, 0, 0);
    publish(w, "mail", "order-2", 0, 0, 0);
    enter(w, "anna", "key-1");
    enter(w, "ben", "key-2");
    transact(w, "t-1");
    transact(w, "t-2");
}

/* One is done, one dead, one comes again, one is under way. */
static void dispatch_some(struct world *w) {
    static const uint16_t statuses[] = {200, 400, 503};
    struct attempt_start start;
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        w->now_ns += NS_PER_SECOND;
        bool started = push_start(w, &start);
        assert(started);
        push_finish(w, &start, statuses[i], 0);
    }
    w->now_ns += NS_PER_MS;
    bool started = push_start(w, &start);
    assert(started);
}

/* ---- queues with rules of their own, and what people do to messages ---- */

static void take_late(struct destination_def *def, void *context) {
    int rc = def_set_text(&def->confirm.statuses, span_text("202"));
    assert(rc == 0);
    def->confirm.holds_place = true;
}

static void take_several(struct destination_def *def, void *context) {
    def->batch.max_messages = 3;
}

static void define_with_rules(struct world *w) {
    const struct retry_def once = {.max_attempts = 1};
    enum refusal refusal = push_define_more(w, "bank", push_pace(500, 4), take_late, NULL);
    assert(refusal == REFUSAL_NONE);
    refusal = push_define_more(w, "bulk", push_pace(500, 4), take_several, NULL);
    assert(refusal == REFUSAL_NONE);
    refusal = push_define_queue(w, "transfers", "bank", push_pace(0, 0), &once);
    assert(refusal == REFUSAL_NONE);
    refusal = push_define_queue(w, "items", "bulk", push_pace(0, 0), &once);
    assert(refusal == REFUSAL_NONE);
    struct queue_def def = world_queue_def("fair", "");
    def.dedup = DEDUP_BY_HEADER;
    def.unique_until = UNIQUE_UNTIL_DELIVERED;
    int rc = def_set_text(&def.tenant_header, span_text("X-One"));
    assert(rc == 0);
    refusal = world_define(w, &def);
    assert(refusal == REFUSAL_NONE);
}

static void define_policy(struct world *w) {
    struct buffer table;
    struct amqp_table_out t;
    buffer_init(&table, 256);
    amqp_table_begin(&t, &table);
    amqp_put_i32(&t, "max-length", 50);
    int rc = amqp_table_end(&t);
    assert(rc == 0);
    struct request r;
    request_init(&r, REQUEST_POLICY_DEFINE);
    r.vhost = span_text("/");
    r.in.policy = (struct policy_def){.name = span_text("short"),
                                      .pattern = span_text("^amqp"),
                                      .apply_to = span_text("queues"),
                                      .definition = span_of(table.data + 4, table.size - 4)};
    r.name = r.in.policy.name;
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
    request_init(&r, REQUEST_AMQP_QUEUE_DECLARE);
    r.vhost = span_text("/");
    r.name = span_text("amqp-queue");
    r.in.queue_declare.durable = true;
    refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
    buffer_release(&table);
}

static uint64_t publish_once(struct world *w, const char *key) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("fair");
    r.in.publish.unique_key = span_text(key);
    r.in.publish.envelope =
        (struct envelope){.headers = span_text("X-One: gold\n"), .body = span_text("a body")};
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    uint64_t id = r.receipt.id;
    request_release(&r);
    return id;
}

/* One is edited, one moved away. */
static void change_some(struct world *w) {
    const struct stored_message content = {.version = 1, .envelope.body = span_text("mended")};
    const enum request_kind kinds[] = {REQUEST_MESSAGE_EDIT, REQUEST_MESSAGE_TRANSFER};
    for (unsigned i = 0; i < ARRAY_LENGTH(kinds); i++) {
        struct request r;
        uint64_t id = publish_once(w, i == 0 ? "one" : "two");
        struct message_info info = push_message(w, id);
        struct message_seen seen = {info.address, info.attempts, info.state};
        request_init(&r, kinds[i]);
        r.name = span_text("fair");
        r.id = id;
        if (i == 0) {
            r.in.edit.seen = seen;
            r.in.edit.content = &content;
        } else {
            r.in.transfer.seen = seen;
            r.in.transfer.stored = &content;
            r.in.transfer.to = span_text("store");
        }
        enum refusal refusal = world_ask(w, &r);
        assert(refusal == REFUSAL_NONE);
        request_release(&r);
    }
}

/* One job amid its way, one that is over. */
static void work_on_many(struct world *w) {
    uint64_t id;
    enum refusal refusal;
    for (unsigned i = 0; i < 2; i++) {
        struct worker_job job = {.queue = i == 0 ? "store" : "mail",
                                 .to = "fair",
                                 .action = i == 0 ? JOB_MOVE : JOB_REDRIVE,
                                 .state = i == 0 ? MESSAGE_READY : MESSAGE_DEAD,
                                 .actor = "operator"};
        refusal = worker_start(w, job, &id);
        assert(refusal == REFUSAL_NONE);
        w->now_ns += NS_PER_MS;
        bool stepped = worker_step(w, NULL, i == 0 ? 1 : 100, &refusal);
        assert(stepped);
    }
}

/* One waits for its confirmation, one was told of too early; three share a request. */
static void send_with_rules(struct world *w) {
    struct attempt_start start;
    push_publish(w, "transfers");
    push_publish(w, "transfers");
    for (unsigned i = 0; i < 3; i++) {
        push_publish(w, "items");
    }
    w->now_ns += NS_PER_SECOND;
    for (unsigned seen = 0; push_start(w, &start);) {
        if (strcmp(start.queue, "transfers") == 0 && seen++ == 0) {
            push_finish(w, &start, 202, 0);
        } else if (strcmp(start.queue, "transfers") == 0) {
            struct request r;
            request_init(&r, REQUEST_CONFIRM);
            r.id = start.message;
            r.in.confirm.outcome = CONFIRM_RETRY;
            r.in.confirm.note = span_text("again, please");
            enum refusal refusal = world_ask(w, &r);
            assert(refusal == REFUSAL_NONE);
            request_release(&r);
        }
    }
}

static struct fuzz_state *make_state(void) {
    static struct fuzz_state s;
    struct world w;
    world_init(&w, NULL);
    define_all(&w);
    fill_stocks(&w);
    fill_queues(&w);
    dispatch_some(&w);
    define_with_rules(&w);
    define_policy(&w);
    change_some(&w);
    work_on_many(&w);
    send_with_rules(&w);
    buffer_init(&s.snapshot, SAVE_MAX);
    buffer_init(&s.log, SAVE_MAX);
    world_save(&w, &s.snapshot);
    int rc = buffer_append_span(&s.log, buffer_span(&w.log));
    assert(rc == 0);
    s.position = w.position;
    s.now_ns = w.now_ns;
    world_release(&w);
    return &s;
}

const struct fuzz_state *fuzz_state(void) {
    static struct fuzz_state *made;
    made = made != NULL ? made : make_state();
    return made;
}

/* ---- models ---- */

static uint32_t segment_of(uint64_t address) {
    return (uint32_t)(address >> 32); /* as the file log has it */
}

struct model *fuzz_model_empty(void) {
    const struct model_limits limits = {.queues = 100}; /* a table is made for them at once */
    struct model *m;
    int rc = model_create(&limits, (struct hash_key){1, 2}, &m);
    assert(rc == 0);
    model_set_segment_of(m, segment_of);
    return m;
}

struct model *fuzz_model_loaded(void) {
    struct model *m = fuzz_model_empty();
    int rc = model_load(m, buffer_span(&fuzz_state()->snapshot));
    assert(rc == 0);
    return m;
}

static int append(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

void fuzz_model_save(const struct model *m, struct buffer *out) {
    buffer_clear(out);
    int rc = model_save(m, append, out);
    assert(rc == 0);
}

static void check_snapshot(const struct model *m) {
    struct buffer once, twice;
    buffer_init(&once, SAVE_MAX);
    buffer_init(&twice, SAVE_MAX);
    fuzz_model_save(m, &once);
    struct model *other = fuzz_model_empty();
    int rc = model_load(other, buffer_span(&once));
    assert(rc == 0);
    model_check(other);
    fuzz_model_save(other, &twice);
    assert(span_equal(buffer_span(&once), buffer_span(&twice)));
    model_free(other);
    buffer_release(&once);
    buffer_release(&twice);
}

/*
 * One decision of the program's own. 0: applied; E_END: there was none to take; E_CORRUPT: what it says of two things does
 * not go together, so the engine would end (engine_break), which is as good as refusing them when they came.
 */
static int step(struct model *m, struct decision *d,
                bool (*decide)(const struct model *m, struct decision *d)) {
    buffer_clear(d->facts);
    d->operation = 0;
    d->fact_count = 0;
    d->failed = false;
    if (!decide(m, d)) {
        assert(d->facts->size == 0);
        return E_END;
    }
    assert(!d->failed);
    struct applied where = {d->now_ns, d->position, d->position};
    int rc = model_apply(m, &where, buffer_span(d->facts));
    assert(rc == 0 || rc == E_CORRUPT);
    d->position++;
    return rc;
}

static bool decide_start(const struct model *m, struct decision *d) {
    struct attempt_start start;
    return model_decide_start(m, d, &start);
}

static bool decide_recovery(const struct model *m, struct decision *d) {
    return model_decide_recovery(m, d);
}

static bool decide_timer(const struct model *m, struct decision *d) {
    return model_decide_timer(m, d);
}

/* False: the state is not usable any more. */
static bool run(struct model *m, struct decision *d,
                bool (*decide)(const struct model *m, struct decision *d)) {
    int rc = 0;
    for (unsigned i = 0; i < STEPS_MAX && rc == 0; i++) {
        rc = step(m, d, decide);
    }
    return rc != E_CORRUPT;
}

static bool go_on(struct model *m, struct decision *d) {
    bool usable = run(m, d, decide_recovery);
    for (int i = 0; i < 3 && usable; i++) {
        usable = run(m, d, decide_timer) && run(m, d, decide_start);
        d->now_ns += 3600 * NS_PER_SECOND;
    }
    return usable;
}

void fuzz_model_exercise(struct model *m, uint64_t now_ns, uint64_t position) {
    model_check(m);
    check_snapshot(m);
    struct rng rng;
    struct buffer facts;
    rng_init(&rng, 1);
    buffer_init(&facts, FACTS_MAX);
    struct decision d = {
        .now_ns = now_ns, .position = position, .random = &rng, .may_grow = true, .facts = &facts};
    if (go_on(m, &d)) {
        model_check(m);
    }
    buffer_release(&facts);
}
