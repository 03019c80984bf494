#include "letters.h"

#include <string.h>

static bool matches_id(const void *owner, uint32_t tag, const void *id) {
    const struct letters *l = owner;
    return l->items[tag].id == *(const uint64_t *)id;
}

struct letters *letters_create(void) {
    struct letters *l = sim_alloc(sizeof(*l));
    map_init(&l->by_id, l, matches_id);
    l->count = 1;
    return l;
}

void letters_free(struct letters *l) {
    for (unsigned q = 0; q < QUEUES; q++)
        for (unsigned k = 0; k < KEYS; k++)
            free(l->queues[q].keys[k].tags);
    map_release(&l->by_id);
    free(l->items);
    free(l);
}

/* ---- bodies ---- */

static uint64_t pattern_of(uint32_t tag) {
    return (tag + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Eight bytes that say whose it is, then a pattern that only this tag has. */
void letter_fill(uint32_t tag, uint32_t size, uint8_t *out) {
    uint64_t words[2] = {tag, pattern_of(tag)};
    memcpy(out, &words[0], 8);
    for (uint32_t at = 8; at < size; at += 8)
        memcpy(out + at, &words[1], size - at < 8 ? size - at : 8);
}

uint32_t letter_of_body(const struct sim *s, struct span body) {
    uint8_t expected[LETTER_BYTES_MAX];
    uint64_t tag = 0;
    if (body.size >= 8)
        memcpy(&tag, body.data, 8);
    SIM_CHECK(s, tag > 0 && tag < s->letters->count, "a body that nobody sent (%zu bytes)",
              body.size);
    const struct letter *l = letter_at(s, (uint32_t)tag);
    letter_fill((uint32_t)tag, l->size, expected);
    SIM_CHECK(s, span_equal(body, span_of(expected, l->size)),
              "the body of letter %llu is not as it was sent", (unsigned long long)tag);
    return (uint32_t)tag;
}

/* ---- the set ---- */

uint32_t letter_make(struct sim *s, unsigned queue, uint32_t size) {
    struct letters *l = s->letters;
    if (l->count == l->capacity || l->items == NULL) {
        l->capacity = l->capacity == 0 ? 4096 : l->capacity * 2;
        l->items = realloc(l->items, l->capacity * sizeof(*l->items));
        assert(l->items != NULL);
    }
    uint32_t tag = l->count++;
    l->items[tag] =
        (struct letter){.queue = (uint8_t)queue, .size = size < 16 ? 16 : size, .asked = true};
    return tag;
}

uint32_t letter_find(const struct sim *s, uint64_t id) {
    return map_find(&s->letters->by_id, hash_u64(id), &id);
}

static void count_alive(struct sim *s, const struct letter *l, unsigned change) {
    struct queue_facts *q = &s->letters->queues[l->queue];
    if (l->may & MAY_ALIVE)
        q->alive_maybe += change;
    if (l->may == MAY_ALIVE && l->expires_ns == 0)
        q->alive_certain += change;
}

static void set_fresh(struct sim *s, struct letter *l, bool fresh) {
    s->letters->queues[l->queue].fresh += (unsigned)fresh - (unsigned)l->fresh;
    l->fresh = fresh;
}

void letter_set(struct sim *s, struct letter *l, unsigned may) {
    count_alive(s, l, -1u);
    l->may = (uint8_t)may;
    count_alive(s, l, 1);
    if (may != MAY_ALIVE || l->attempts > 0)
        set_fresh(s, l, false);
}

unsigned letter_may(const struct sim *s, const struct letter *l) {
    unsigned may = l->may;
    if ((may & MAY_ALIVE) && l->expires_ns != 0 && l->expires_ns <= sim_engine_ns(s))
        may |= s->letters->queues[l->queue].dead_letters ? MAY_DEAD : MAY_GONE;
    return may;
}

/* ---- ordering keys ---- */

static void key_join(struct sim *s, const struct letter *l, uint32_t tag) {
    struct key_line *k = &s->letters->queues[l->queue].keys[l->key - 1];
    if (k->count == k->capacity) {
        k->capacity = k->capacity == 0 ? 64 : k->capacity * 2;
        k->tags = realloc(k->tags, k->capacity * sizeof(*k->tags));
        assert(k->tags != NULL);
    }
    uint32_t at = k->count++;
    for (; at > 0 && letter_at(s, k->tags[at - 1])->id > l->id; at--)
        k->tags[at] = k->tags[at - 1];
    k->tags[at] = tag;
    k->first = at < k->first ? at : k->first;
}

/* None of its key that came before is still to be sent, and none is out. */
static void key_check_turn(struct sim *s, const struct letter *l, uint32_t tag) {
    struct key_line *k = &s->letters->queues[l->queue].keys[l->key - 1];
    SIM_CHECK(s, k->under_way == 0, "letter %u and %u of one ordering key are out at once", tag,
              k->under_way);
    if (l->unordered)
        return;
    while (k->first < k->count && (letter_may(s, letter_at(s, k->tags[k->first])) & MAY_ALIVE) == 0)
        k->first++;
    for (uint32_t i = k->first; i < k->count && k->tags[i] != tag; i++) {
        const struct letter *before = letter_at(s, k->tags[i]);
        SIM_CHECK(s, before->unordered || before->id > l->id || letter_may(s, before) != MAY_ALIVE,
                  "letter %u leaves before letter %u of its ordering key", tag, k->tags[i]);
    }
}

/* ---- what becomes of one ---- */

void letter_accepted(struct sim *s, uint32_t tag, uint64_t id, uint64_t accepted_ns) {
    struct letter *l = letter_at(s, tag);
    struct queue_facts *q = &s->letters->queues[l->queue];
    SIM_CHECK(s, !l->refused, "letter %u was refused and is there", tag);
    SIM_CHECK(s, l->id == 0 || l->id == id, "letter %u has two receipts: %llx and %llx", tag,
              (unsigned long long)l->id, (unsigned long long)id);
    l->asked = false;
    if (l->id != 0)
        return;
    uint32_t other = letter_find(s, id);
    SIM_CHECK(s, other == 0, "letters %u and %u have one receipt", other, tag);
    l->id = id;
    uint64_t life_ns =
        q->ttl_ns != 0 && (l->life_ns == 0 || q->ttl_ns < l->life_ns) ? q->ttl_ns : l->life_ns;
    l->expires_ns = life_ns != 0 ? accepted_ns + life_ns : 0;
    int error = map_insert(&s->letters->by_id, hash_u64(id), tag);
    assert(error == 0);
    letter_set(s, l, l->swept ? MAY_ALIVE | MAY_GONE : MAY_ALIVE);
    if (l->may == MAY_ALIVE && l->expires_ns == 0 && l->key == 0 && !l->unordered)
        set_fresh(s, l, true);
    if (l->key != 0)
        key_join(s, l, tag);
}

void letter_refused(struct sim *s, uint32_t tag) {
    struct letter *l = letter_at(s, tag);
    SIM_CHECK(s, l->id == 0, "letter %u is refused and was there", tag);
    l->asked = false;
    l->refused = true;
}

void letter_begins(struct sim *s, uint32_t tag, uint32_t attempt) {
    struct letter *l = letter_at(s, tag);
    SIM_CHECK(s, letter_may(s, l) & MAY_ALIVE, "letter %u is over and is sent", tag);
    SIM_CHECK(s, l->expires_ns == 0 || l->redriven || l->expires_ns > s->turn_engine_ns,
              "letter %u is sent after its time to live", tag);
    SIM_CHECK(s, l->under_way == 0, "letter %u is sent twice at once", tag);
    bool anew = l->may_be_anew && attempt == 1;
    SIM_CHECK(s, attempt == l->attempts + 1 || anew, "letter %u: attempt %u follows %u", tag,
              attempt, l->attempts);
    if (l->key != 0) {
        key_check_turn(s, l, tag);
        s->letters->queues[l->queue].keys[l->key - 1].under_way = tag;
    }
    l->may_be_anew = l->stranded = false;
    l->attempts = attempt;
    l->under_way = attempt;
    letter_set(s, l, MAY_ALIVE);
}

void letter_ends(struct sim *s, struct letter *l) {
    l->under_way = 0;
    if (l->key != 0)
        s->letters->queues[l->queue].keys[l->key - 1].under_way = 0;
}

void letter_redriven(struct sim *s, struct letter *l) {
    struct queue_facts *q = &s->letters->queues[l->queue];
    count_alive(s, l, -1u);
    l->expires_ns = q->ttl_ns != 0 ? s->turn_engine_ns + q->ttl_ns : 0;
    l->may = MAY_ALIVE;
    count_alive(s, l, 1);
    l->unordered = l->redriven = true;
    l->attempts = 0;
}

void letters_restart(struct sim *s) {
    struct letters *l = s->letters;
    for (uint32_t tag = 1; tag < l->count; tag++)
        if (l->items[tag].under_way != 0)
            letter_ends(s, &l->items[tag]);
}
