#include "shadow.h"

#define STATE_MAX (256u << 20)

struct shadow {
    struct model *model;       /* owns */
    struct log_cursor *cursor; /* owns; of the engine's log; NULL: none is open */
    struct model_limits limits;
    uint64_t position;
};

static struct model *fresh_model(const struct model_limits *limits) {
    struct model *model;
    int error = model_create(limits, (struct hash_key){77, 7}, &model);
    assert(error == 0);
    model_set_segment_of(model, log_segment_of);
    return model;
}

struct shadow *shadow_create(const struct model_limits *limits) {
    struct shadow *h = sim_alloc(sizeof(*h));
    h->limits = *limits;
    h->model = fresh_model(limits);
    return h;
}

void shadow_free(struct shadow *h) {
    assert(h->cursor == NULL);
    model_free(h->model);
    free(h);
}

uint64_t shadow_position(const struct sim *s) {
    return s->shadow->position;
}

static int append_to(void *buffer, struct span bytes) {
    return buffer_append_span(buffer, bytes);
}

struct buffer state_of(const struct model *m) {
    struct buffer state;
    buffer_init(&state, STATE_MAX);
    int error = model_save(m, append_to, &state);
    assert(error == 0);
    return state;
}

void shadow_adopt(struct sim *s) {
    struct shadow *h = s->shadow;
    struct buffer state = state_of(s->engine->model);
    model_free(h->model);
    h->model = fresh_model(&h->limits);
    int error = model_load(h->model, buffer_span(&state));
    SIM_CHECK(s, error == 0, "the imported state does not load: %s", error_name(error));
    h->position = log_next_position(s->engine->log) - 1;
    buffer_release(&state);
}

void shadow_follow(struct sim *s) {
    struct shadow *h = s->shadow;
    bool quiet = s->quiet;
    s->quiet = true;
    int error =
        h->cursor != NULL ? 0 : log_cursor_open(s->engine->log, h->position + 1, &h->cursor);
    struct record r;
    uint64_t address;
    while (error == 0 && (error = log_cursor_next(h->cursor, &r, &address)) == 0) {
        SIM_CHECK(s, r.position == h->position + 1, "record %llu follows %llu",
                  (unsigned long long)r.position, (unsigned long long)h->position);
        struct applied where = {.time_ns = r.time_ns, .position = r.position, .address = address};
        error = model_apply(h->model, &where, r.facts);
        h->position = r.position;
        s->result->records++;
    }
    SIM_CHECK(s, error == E_END, "the log cannot be followed behind %llu: %s",
              (unsigned long long)h->position, error_name(error));
    s->quiet = quiet;
}

void shadow_let_go(struct sim *s) {
    if (s->shadow->cursor != NULL)
        log_cursor_close(s->shadow->cursor);
    s->shadow->cursor = NULL;
}

void shadow_compare(struct sim *s) {
    shadow_follow(s);
    SIM_CHECK(s, log_next_position(s->engine->log) == s->shadow->position + 1,
              "the engine is at %llu, its log at %llu",
              (unsigned long long)log_next_position(s->engine->log) - 1,
              (unsigned long long)s->shadow->position);
    model_check(s->engine->model);
    struct buffer live = state_of(s->engine->model), replayed = state_of(s->shadow->model);
    SIM_CHECK(s, span_equal(buffer_span(&live), buffer_span(&replayed)),
              "a replay of the whole log gives another state (at %llu, %zu and %zu bytes)",
              (unsigned long long)s->shadow->position, live.size, replayed.size);
    buffer_release(&live);
    buffer_release(&replayed);
    s->result->replays++;
}
