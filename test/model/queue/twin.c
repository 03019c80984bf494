#include "twin.h"

#include <assert.h>
#include <string.h>

#define BY_AGE_STEPS 256u

static void list_insert(struct twin_list *l, uint32_t at, uint64_t id) {
    assert(l->count < TWIN_MESSAGES);
    memmove(&l->ids[at + 1], &l->ids[at], (l->count - at) * sizeof l->ids[0]);
    l->ids[at] = id;
    l->count++;
}

static void list_remove_id(struct twin_list *l, uint64_t id) {
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->ids[i] == id) {
            l->count--;
            memmove(&l->ids[i], &l->ids[i + 1], (l->count - i) * sizeof l->ids[0]);
            return;
        }
    }
}

struct twin_message *twin_find(struct twin *t, uint64_t id) {
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->messages[i].id == id) {
            return &t->messages[i];
        }
    }
    return NULL;
}

uint64_t twin_waiting(const struct twin *t, uint32_t queue) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        n += t->messages[i].queue == queue && t->messages[i].state != MESSAGE_DEAD;
    }
    return n;
}

uint64_t twin_head(const struct twin *t, uint32_t queue) {
    for (uint32_t level = TWIN_LEVELS; level-- > 0;) {
        if (t->queues[queue].ready[level].count > 0) {
            return t->queues[queue].ready[level].ids[0];
        }
    }
    return 0;
}

static struct twin_queue *queue_of(struct twin *t, const struct twin_message *m) {
    return &t->queues[m->queue];
}

/* Out of the lists; the key stays with it. */
static void leave(struct twin *t, struct twin_message *m) {
    struct twin_queue *q = queue_of(t, m);
    list_remove_id(&q->ready[m->priority], m->id);
    list_remove_id(&q->delayed, m->id);
    list_remove_id(&q->dead, m->id);
    list_remove_id(&q->blocked[m->key], m->id);
}

static void make_ready(struct twin *t, struct twin_message *m, bool by_age) {
    struct twin_list *l = &queue_of(t, m)->ready[m->priority];
    uint32_t at = l->count;
    if (by_age) {
        for (at = 0; at < l->count && at < BY_AGE_STEPS && l->ids[at] < m->id; at++) {
        }
    }
    list_insert(l, at, m->id);
    m->state = MESSAGE_READY;
    m->due_ns = 0;
}

static void delay(struct twin *t, struct twin_message *m, uint64_t due_ns) {
    struct twin_list *l = &queue_of(t, m)->delayed;
    list_insert(l, l->count, m->id);
    m->state = MESSAGE_DELAYED;
    m->due_ns = due_ns;
}

static void arrive(struct twin *t, struct twin_message *m, bool by_age) {
    struct twin_queue *q = queue_of(t, m);
    if (m->key != 0 && q->holder[m->key] != 0 && q->holder[m->key] != m->id) {
        list_insert(&q->blocked[m->key], q->blocked[m->key].count, m->id);
        m->state = MESSAGE_BLOCKED;
        m->due_ns = 0;
        return;
    }
    if (m->key != 0) {
        q->holder[m->key] = m->id;
    }
    make_ready(t, m, by_age);
}

static void yield(struct twin *t, const struct twin_message *m) {
    struct twin_queue *q = queue_of(t, m);
    if (m->key == 0 || q->holder[m->key] != m->id) {
        return;
    }
    q->holder[m->key] = 0;
    if (q->blocked[m->key].count > 0) {
        struct twin_message *next = twin_find(t, q->blocked[m->key].ids[0]);
        leave(t, next);
        q->holder[m->key] = next->id;
        make_ready(t, next, false);
    }
}

static void end(struct twin *t, struct twin_message *m) {
    leave(t, m);
    yield(t, m);
    t->count--;
    memmove(m, m + 1, (size_t)(&t->messages[t->count] - m) * sizeof *m);
    t->gone++;
}

void twin_trim_dead(struct twin *t, uint32_t queue) {
    struct twin_queue *q = &t->queues[queue];
    while (q->max_dead != 0 && q->dead.count > q->max_dead) {
        end(t, twin_find(t, q->dead.ids[0]));
    }
}

static void die(struct twin *t, struct twin_message *m, enum dead_reason reason) {
    struct twin_queue *q = queue_of(t, m);
    if (!q->dead_letters) {
        end(t, m);
        return;
    }
    leave(t, m);
    list_insert(&q->dead, q->dead.count, m->id);
    m->state = MESSAGE_DEAD;
    m->reason = reason;
    m->due_ns = 0;
    yield(t, m);
    twin_trim_dead(t, m->queue);
}

void twin_put(struct twin *t, const struct twin_message *in, uint64_t now_ns) {
    assert(t->count < TWIN_MESSAGES);
    struct twin_message *m = &t->messages[t->count++];
    *m = *in;
    if (m->due_ns > now_ns) {
        delay(t, m, m->due_ns);
    } else {
        arrive(t, m, false);
    }
}

void twin_start(struct twin *t, uint64_t id) {
    struct twin_message *m = twin_find(t, id);
    leave(t, m);
    m->state = MESSAGE_IN_FLIGHT;
    m->attempts++;
}

void twin_done(struct twin *t, uint64_t id) {
    end(t, twin_find(t, id));
}

void twin_retry(struct twin *t, uint64_t id, uint64_t due_ns, uint64_t now_ns) {
    struct twin_message *m = twin_find(t, id);
    if (due_ns > now_ns) {
        delay(t, m, due_ns);
    } else {
        make_ready(t, m, true);
    }
}

void twin_bury(struct twin *t, uint64_t id, enum dead_reason reason) {
    die(t, twin_find(t, id), reason);
}

void twin_delete(struct twin *t, uint64_t id) {
    end(t, twin_find(t, id));
}

void twin_redrive(struct twin *t, uint64_t id, uint64_t now_ns) {
    struct twin_message *m = twin_find(t, id);
    uint64_t ttl_ns = queue_of(t, m)->ttl_ns;
    leave(t, m);
    m->attempts = 0;
    m->reason = DEAD_NONE;
    m->expires_ns = ttl_ns != 0 ? now_ns + ttl_ns : 0;
    arrive(t, m, false);
}

void twin_edit(struct twin *t, uint64_t id, uint32_t body_bytes, uint8_t priority) {
    struct twin_message *m = twin_find(t, id);
    bool again = m->state == MESSAGE_READY && m->priority != priority;
    m->body_bytes = body_bytes;
    if (again) {
        leave(t, m);
    }
    m->priority = priority;
    if (again) {
        make_ready(t, m, true);
    }
}

void twin_move(struct twin *t, uint64_t id, uint32_t queue, uint64_t now_ns) {
    struct twin_message *m = twin_find(t, id);
    bool delayed = m->state == MESSAGE_DELAYED;
    leave(t, m);
    yield(t, m);
    m->queue = queue;
    m->attempts = 0;
    m->reason = DEAD_NONE;
    m->expires_ns = queue_of(t, m)->ttl_ns != 0 ? now_ns + queue_of(t, m)->ttl_ns : 0;
    if (delayed) {
        delay(t, m, m->due_ns);
    } else {
        arrive(t, m, false);
    }
}

static uint32_t note_list(uint64_t *ids, uint32_t count, const struct twin_list *l) {
    memcpy(&ids[count], l->ids, l->count * sizeof l->ids[0]);
    return count + l->count;
}

/* Those that are to go are noted first: the end of one may make another one ready. */
uint32_t twin_purge(struct twin *t, uint32_t queue, enum message_state state) {
    static uint64_t ids[TWIN_MESSAGES];
    const struct twin_queue *q = &t->queues[queue];
    uint32_t count = 0;
    if (state == 0 || state == MESSAGE_DEAD) {
        count = note_list(ids, count, &q->dead);
    }
    for (uint32_t k = 1; (state == 0 || state == MESSAGE_BLOCKED) && k < TWIN_KEYS; k++) {
        count = note_list(ids, count, &q->blocked[k]);
    }
    if (state == 0 || state == MESSAGE_DELAYED) {
        count = note_list(ids, count, &q->delayed);
    }
    for (uint32_t i = 0; (state == 0 || state == MESSAGE_READY) && i < TWIN_LEVELS; i++) {
        count = note_list(ids, count, &q->ready[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        end(t, twin_find(t, ids[i]));
    }
    return count;
}

static uint64_t timer_of(const struct twin_message *m) {
    if (m->state == MESSAGE_DEAD || m->state == MESSAGE_IN_FLIGHT) {
        return UINT64_MAX;
    }
    uint64_t at = m->expires_ns != 0 ? m->expires_ns : UINT64_MAX;
    return m->state == MESSAGE_DELAYED && m->due_ns < at ? m->due_ns : at;
}

uint32_t twin_run_timers(struct twin *t, uint64_t now_ns) {
    for (uint32_t fired = 0;; fired++) {
        struct twin_message *first = NULL;
        for (uint32_t i = 0; i < t->count; i++) {
            struct twin_message *m = &t->messages[i];
            if (timer_of(m) <= now_ns && (first == NULL || timer_of(m) < timer_of(first))) {
                first = m;
            }
        }
        if (first == NULL) {
            return fired;
        }
        if (first->state == MESSAGE_DELAYED && first->due_ns == timer_of(first)) {
            leave(t, first);
            arrive(t, first, first->attempts > 0);
        } else {
            die(t, first, DEAD_EXPIRED);
        }
    }
}
