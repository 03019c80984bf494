#include "world.h"

#include <string.h>

static uint64_t world_clock(void *context) {
    return ((struct world *)context)->now_ns;
}

static void on_failed(void *context, const char *message) {
    (void)message;
    ((struct world *)context)->failures++;
}

static void on_note(void *context, const char *message) {
    struct world *w = context;
    w->notes++;
    snprintf(w->note, sizeof(w->note), "%s", message);
}

void world_init(struct world *w) {
    *w = (struct world){.disk = sim_disk_create(1), .now_ns = 1000 * NS_PER_SECOND};
    w->options = (struct engine_options){
        .directory = "/data",
        .files = sim_disk_ops(w->disk),
        .segment_bytes = WORLD_SEGMENT_BYTES,
        .snapshot_every_bytes = 1u << 30,
        .compact_live_share = 0.01,
        .paranoid = true,
        .manual = true,
        .real_ns = world_clock,
        .monotonic_ns = world_clock,
        .context = w,
        .failed = on_failed,
        .note = on_note,
    };
}

int world_try_open(struct world *w) {
    int error = engine_open(&w->options, &w->recovery, w->text, &w->engine);
    if (error != 0)
        w->engine = NULL;
    return error;
}

void world_open(struct world *w) {
    int error = world_try_open(w);
    if (error != 0)
        fail_msg("engine_open: %s: %s", error_name(error), w->text);
}

void world_close(struct world *w) {
    if (w->engine != NULL)
        engine_close(w->engine, false);
    w->engine = NULL;
}

void world_release(struct world *w) {
    world_close(w);
    sim_disk_free(w->disk);
}

void world_crash(struct world *w, enum sim_loss loss) {
    sim_disk_crash_at(w->disk, 1);
    world_close(w);
    sim_disk_restart(w->disk, loss);
    w->failures = 0;
}

void world_define_queue(struct world *w, const char *name, const char *destination) {
    struct queue_def def;
    assert_int_equal(queue_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text(name)), 0);
    assert_int_equal(def_set_text(&def.destination, span_text(destination)), 0);
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text(name);
    r.in.define.queue = &def;
    assert_int_equal(engine_call(w->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
    queue_def_release(&def);
}

void world_define_destination(struct world *w, uint32_t rate) {
    struct destination_def def;
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("provider")), 0);
    assert_int_equal(def_set_text(&def.url, span_text("http://127.0.0.1:1/")), 0);
    def.pace = (struct pace_def){.mode = PACE_STRICT, .count = rate, .period_ns = NS_PER_SECOND};
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("provider");
    r.in.define.destination = &def;
    assert_int_equal(engine_call(w->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
    destination_def_release(&def);
}

enum refusal world_publish(struct world *w, const char *queue, size_t body_bytes,
                           uint64_t schedule_ns, uint64_t *ret_id) {
    static const uint8_t body[16384] = "a body that nobody else has";
    assert_true(body_bytes <= sizeof(body));
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text(queue);
    r.in.publish.envelope.body = span_of(body, body_bytes);
    r.in.publish.schedule_ns = schedule_ns;
    assert_int_equal(engine_call(w->engine, &r), 0);
    enum refusal refusal = r.refusal;
    if (ret_id != NULL)
        *ret_id = r.receipt.id;
    request_release(&r);
    return refusal;
}

enum refusal world_delete(struct world *w, const char *queue, uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_DELETE);
    r.name = span_text(queue);
    r.id = id;
    assert_int_equal(engine_call(w->engine, &r), 0);
    enum refusal refusal = r.refusal;
    request_release(&r);
    return refusal;
}

struct queue_info world_queue(struct world *w, const char *name) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text(name);
    assert_int_equal(engine_call(w->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    struct queue_info info = r.out.queue;
    request_release(&r);
    return info;
}

uint64_t world_address(struct world *w, const char *queue, uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.name = span_text(queue);
    r.id = id;
    assert_int_equal(engine_call(w->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    uint64_t address = r.out.message.address;
    request_release(&r);
    return address;
}

int world_read(struct world *w, const char *queue, uint64_t id) {
    struct buffer bytes;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    struct stored_message stored;
    int error = engine_read_message(w->engine, id, world_address(w, queue, id), &bytes, &stored);
    buffer_release(&bytes);
    return error;
}

static int take_state(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

struct buffer world_state(struct world *w) {
    struct buffer state;
    buffer_init(&state, 64u << 20);
    assert_int_equal(model_save(w->engine->model, take_state, &state), 0);
    return state;
}
