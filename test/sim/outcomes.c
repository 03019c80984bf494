#include "outcomes.h"

#include <string.h>

#include "clients.h"
#include "letters.h"

#define KEEP_UP_TO 200u

struct outcomes {
    uint64_t seen[LIST_MAX]; /* of the last audit */
    uint32_t count;
};

struct outcomes *outcomes_create(void) {
    return sim_alloc(sizeof(struct outcomes));
}

void outcomes_free(struct outcomes *o) {
    free(o);
}

static struct span value_of(struct span body, const char *key) {
    char wanted[32];
    int size = snprintf(wanted, sizeof(wanted), "\"%s\":\"", key);
    const char *at = memmem(body.data, body.size, wanted, (size_t)size);
    const char *end = at != NULL ? memchr(at + size, '"', body.size) : NULL;
    return end != NULL ? span_of(at + size, (size_t)(end - at - size)) : span_of(NULL, 0);
}

static void look_at_one(struct sim *s, const struct message_info *info) {
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    int error = engine_read_message(s->engine, info->id, info->address, &bytes, &stored);
    SIM_CHECK(s, error == 0, "an outcome cannot be read: %s", error_name(error));
    struct span body = stored.envelope.body;
    uint64_t receipt;
    error = receipt_parse(value_of(body, "receipt"), &receipt);
    SIM_CHECK(s,
              error == 0 && span_is(value_of(body, "queue"), s->letters->queues[QUEUE_TOLD].name),
              "an outcome of nothing: %.*s", SPAN_ARG(body));
    uint32_t tag = letter_find(s, receipt);
    if (tag != 0) { /* else it came and went without an answer to anybody */
        struct letter *l = letter_at(s, tag);
        bool done = span_is(value_of(body, "outcome"), "done");
        SIM_CHECK(s, l->told == 0 || l->told == info->id, "the end of letter %u is told twice",
                  tag);
        SIM_CHECK(s, l->may == (done ? MAY_GONE : MAY_DEAD), "letter %u is told as %s, it is %u",
                  tag, done ? "done" : "dead", l->may);
        s->result->outcomes += l->told == 0;
        l->told = info->id;
    }
    buffer_release(&bytes);
}

void outcomes_audit(struct sim *s, const struct request *list) {
    struct outcomes *o = s->outcomes;
    SIM_CHECK(s, list->refusal == REFUSAL_NONE && list->next == 0, "the ends cannot be listed");
    o->count = 0;
    for (uint64_t n = 0; n < list->count; n++) {
        struct message_info info;
        memcpy(&info, list->out_bytes.data + n * sizeof(info), sizeof(info));
        look_at_one(s, &info);
        o->seen[o->count++] = info.id;
    }
    for (uint32_t tag = 1; tag < s->letters->count; tag++) {
        const struct letter *l = letter_at(s, tag);
        if (l->queue != QUEUE_TOLD || l->id == 0)
            continue;
        bool ended = l->may == MAY_GONE || l->may == MAY_DEAD;
        SIM_CHECK(s, ended == (l->told != 0), "letter %u is %u, and its end is %s", tag, l->may,
                  l->told != 0 ? "told" : "not told");
    }
}

bool outcomes_delete(struct sim *s) {
    struct outcomes *o = s->outcomes;
    struct call *calls[LIST_MAX];
    if (o->count < KEEP_UP_TO)
        return true;
    for (uint32_t i = 0; i < o->count; i++) {
        calls[i] = call_take(s, REQUEST_MESSAGE_DELETE);
        calls[i]->q.r.name = span_text(ENDS_NAME);
        calls[i]->q.r.id = o->seen[i];
    }
    bool answered = calls_finish(s, calls, o->count, NULL, NULL);
    for (uint32_t i = 0; answered && i < o->count; i++)
        call_give(s, calls[i]);
    o->count = 0;
    return answered;
}
