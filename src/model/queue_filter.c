#include "model/queue_filter.h"

#include "model/history.h"
#include "model/queue_state.h"

bool message_filter_needs_body(const struct message_filter *f) {
    return f->header.size > 0 || f->pointer.data != NULL || f->contains.size > 0;
}

static bool within(uint64_t t, uint64_t from, uint64_t to) {
    return t >= from && (to == 0 || t < to);
}

uint64_t message_changed_ns(const struct model *m, const struct message *g) {
    uint64_t changed_ns = g->storied ? history_changed_ns(m, g->id) : 0;
    return changed_ns != 0 ? changed_ns : g->accepted_ns;
}

bool queue_filter_takes(const struct model *m, const struct message_filter *f, uint64_t hash,
                        const struct message *g) {
    bool plain = (f->reason == DEAD_NONE || f->reason == (enum dead_reason)g->dead_reason) &&
                 (f->status == 0 || f->status == message_status(g)) &&
                 (f->error == 0 || f->error == message_error(g)) &&
                 g->attempts >= f->attempts_min &&
                 within(g->accepted_ns, f->accepted_from_ns, f->accepted_to_ns);
    if (!plain || (hash != 0 && (g->key == 0 || key_at(m->queues, g->key)->hash != hash))) {
        return false;
    }
    return (f->changed_from_ns == 0 && f->changed_to_ns == 0) ||
           within(message_changed_ns(m, g), f->changed_from_ns, f->changed_to_ns);
}

uint64_t queue_filter_hash(const struct message_filter *f, uint32_t queue) {
    return f->ordering_key.size == 0 ? 0 : key_hash(queue, f->ordering_key);
}
