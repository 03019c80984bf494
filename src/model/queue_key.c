/*
 * Ordering keys.
 *
 * A key cell exists while a message refers to it. At most one of its messages is on its way out: the
 * holder, which is ready, in flight, or delayed by a retry. The others that could leave are blocked, in
 * order of arrival. A message that was scheduled for later does not hold its key before its time.
 *
 *      arrive --key_claim--> holder --done, dead, deleted--> key_yield: the first blocked becomes holder
 *                 | held by another
 *                 +--> key_block ... key_unblock
 */
#include <assert.h>

#include "base/error.h"
#include "model/queue_state.h"

uint64_t key_hash(uint32_t queue, struct span key) {
    struct hash_key fixed = {.k0 = 0x5c1e6b7d3a904f21ull, .k1 = queue};
    return hash_bytes(fixed, key);
}

uint32_t key_find(const struct queues *s, uint64_t hash) {
    return map_find(&s->by_key, key_map_hash(s, hash), &hash);
}

int key_join(struct model *m, uint32_t slot, uint64_t hash) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    assert(g->key == 0);
    uint32_t found = key_find(s, hash);
    if (found == 0) {
        int rc = slab_take(&s->keys, &found);
        if (rc != 0) {
            return rc;
        }
        struct message_key *made = key_at(s, found);
        made->hash = hash;
        made->queue = g->queue;
        rc = map_insert(&s->by_key, key_map_hash(s, hash), found);
        if (rc != 0) {
            slab_give(&s->keys, found);
            return rc;
        }
    }
    key_at(s, found)->refs++;
    g->key = found;
    return 0;
}

bool key_claim(struct model *m, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->key == 0) {
        return true;
    }
    struct message_key *k = key_at(m->queues, g->key);
    if (k->holder == 0) {
        k->holder = slot;
    }
    return k->holder == slot;
}

int key_yield(struct model *m, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->key == 0) {
        return 0;
    }
    struct message_key *k = key_at(m->queues, g->key);
    if (k->holder != slot) {
        return 0;
    }
    k->holder = k->blocked.first;
    return k->holder == 0 ? 0 : message_move(m, k->holder, MESSAGE_READY, PLACE_TAIL);
}

void key_part(struct model *m, uint32_t slot) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    if (g->key == 0) {
        return;
    }
    struct message_key *k = key_at(s, g->key);
    assert(k->refs > 0 && k->holder != slot);
    if (--k->refs == 0) {
        assert(k->holder == 0 && k->blocked.count == 0);
        map_remove(&s->by_key, key_map_hash(s, k->hash), g->key);
        slab_give(&s->keys, g->key);
    }
    g->key = 0;
}

void key_block(struct model *m, uint32_t slot) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    struct message_key *k = key_at(s, g->key);
    if (k->blocked.count > 0) {
        return;
    }
    struct queue *q = queue_at(s, k->queue);
    k->prev = q->keys.last;
    k->next = 0;
    if (q->keys.last != 0) {
        key_at(s, q->keys.last)->next = g->key;
    } else {
        q->keys.first = g->key;
    }
    q->keys.last = g->key;
    q->keys.count++;
}

void key_unblock(struct model *m, uint32_t slot) {
    struct queues *s = m->queues;
    const struct message *g = message_at(s, slot);
    struct message_key *k = key_at(s, g->key);
    if (k->blocked.count > 0) {
        return;
    }
    struct queue *q = queue_at(s, k->queue);
    *(k->prev != 0 ? &key_at(s, k->prev)->next : &q->keys.first) = k->next;
    *(k->next != 0 ? &key_at(s, k->next)->prev : &q->keys.last) = k->prev;
    k->next = k->prev = 0;
    q->keys.count--;
}
