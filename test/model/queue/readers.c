#include "readers.h"

#include <assert.h>
#include <string.h>

#include "model/queue.h"

#define READERS   4u
#define PAGES_MAX 3000u
#define TABLE     (2 * TWIN_MESSAGES)

struct pager {
    bool reads;
    uint32_t queue, pages, most; /* most: messages on a page */
    enum message_state state;    /* 0: all */
    uint64_t after, bound;
    uint32_t owed_count, seen_count;
    uint64_t owed[TWIN_MESSAGES];     /* there from the first page on, and not shown yet */
    uint64_t seen[2 * TWIN_MESSAGES]; /* shown */
};

static struct pager readers[READERS];
static uint64_t ended;

/* The twin's messages by id: it looks through all of them for one. */
static const struct twin_message *table[TABLE];

static size_t place_of(uint64_t id) {
    size_t at = id * 0x9e3779b97f4a7c15u % TABLE;
    while (table[at] != NULL && table[at]->id != id) {
        at = (at + 1) % TABLE;
    }
    return at;
}

static void table_fill(const struct twin *t) {
    memset(table, 0, sizeof table);
    for (uint32_t i = 0; i < t->count; i++) {
        table[place_of(t->messages[i].id)] = &t->messages[i];
    }
}

static bool is_listed(const struct pager *l, const struct twin_message *m) {
    return m != NULL && m->queue == l->queue && (l->state == 0 || m->state == l->state);
}

static void note_who_left(struct pager *l) {
    for (uint32_t i = l->owed_count; i-- > 0;) {
        if (!is_listed(l, table[place_of(l->owed[i])])) {
            l->owed[i] = l->owed[--l->owed_count];
        }
    }
}

static void begin(struct pager *l, struct rng *rng, const struct twin *t) {
    static const enum message_state states[] = {
        0, 0, 0, MESSAGE_READY, MESSAGE_DELAYED, MESSAGE_BLOCKED, MESSAGE_IN_FLIGHT, MESSAGE_DEAD};
    l->reads = true;
    l->queue = (uint32_t)rng_below(rng, TWIN_QUEUES);
    l->state = states[rng_below(rng, 8)];
    l->most = 1 + (uint32_t)rng_below(rng, 20);
    l->after = l->bound = 0;
    l->pages = l->owed_count = l->seen_count = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        if (is_listed(l, &t->messages[i])) {
            l->owed[l->owed_count++] = t->messages[i].id;
        }
    }
}

static void see(struct pager *l, uint64_t id) {
    assert(is_listed(l, table[place_of(id)]));
    for (uint32_t i = 0; i < l->seen_count; i++) {
        assert(l->seen[i] != id); /* twice */
    }
    assert(l->seen_count < ARRAY_LENGTH(l->seen));
    l->seen[l->seen_count++] = id;
    for (uint32_t i = 0; i < l->owed_count; i++) {
        if (l->owed[i] == id) {
            l->owed[i] = l->owed[--l->owed_count];
            return;
        }
    }
}

static void read_page(struct world *w, struct pager *l, const char *const *names) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text(names[l->queue]);
    r.in.list.state = l->state;
    r.in.list.max = l->most;
    r.in.list.after = l->after;
    r.in.list.bound = l->bound;
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE && r.count <= l->most);
    for (uint64_t i = 0; i < r.count; i++) {
        struct message_info info;
        memcpy(&info, r.out_bytes.data + i * sizeof info, sizeof info);
        see(l, info.id);
    }
    l->after = r.next;
    l->bound = r.next_bound;
    l->reads = r.next != 0;
    assert(++l->pages < PAGES_MAX); /* there is an end */
    assert(l->reads || l->owed_count == 0);
    ended += !l->reads;
    request_release(&r);
}

void readers_step(struct world *w, const struct twin *t, const char *const *names) {
    table_fill(t);
    for (uint32_t i = 0; i < READERS; i++) {
        struct pager *l = &readers[i];
        note_who_left(l);
        if (rng_below(&w->rng, READERS) == 0) {
            if (!l->reads) {
                begin(l, &w->rng, t);
            }
            read_page(w, l, names);
        }
    }
}

void readers_restart(void) {
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i].reads &= queue_place_lasts(readers[i].after);
    }
}

uint64_t readers_end(struct world *w, const struct twin *t, const char *const *names) {
    table_fill(t);
    for (uint32_t i = 0; i < READERS; i++) {
        note_who_left(&readers[i]);
        while (readers[i].reads) {
            read_page(w, &readers[i], names);
        }
    }
    return ended;
}
