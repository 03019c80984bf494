/*
 * The destination module in a snapshot.
 *
 *      u32 last generation
 *      the roster (see roster.h)
 *      for each destination, in order of index:
 *          u32 index, u32 generation, u64 file hash, u8 paused, u64 closed until,
 *          u64 started, u64 succeeded, u64 failed,
 *          the definition (see definition.c),
 *          version 1: the pace (see pace.c)
 *          version 2: the limits (see limits.c), u8 pause reason, u64 deferred, adaptive, ramp, budget,
 *              breaker, endpoints, failover
 *      u32 attempts under way, for each, oldest first:
 *          u64 message, u32 attempt, u32 destination, u64 started, u64 timeout
 *          version 2: u32 home, u32 endpoint, u32 breaker probe, u32 failover probe
 *          version 4: u64 lead, u8 shares its token
 *          version 3: u8 holds its place while it is confirming, u8 what was told before its end, key: the note
 *      version 3: the same of those that have ended and whose message is confirming
 *
 * The rings of ready queues are not saved: load tells the queues that their destination is there, and they
 * say who has work.
 */
#include "model/destination_state.h"

#include <assert.h>

#define ATTEMPT_SAVED_BYTES 32u

/* adaptive, ramp, budget: too small for functions of their own. */
static int save_small(const struct destination *t, struct buffer *out) {
    const uint64_t longs[] = {t->adaptive.usual_us_256, t->adaptive.seen_ns, t->ramp.from_ns,
                              t->ramp.next_ns,          t->ramp.last_use_ns, t->budget.slot_ns};
    int rc = buffer_put_u32(out, t->adaptive.limit_milli);
    rc = rc != 0 ? rc : buffer_put_u32(out, t->adaptive.short_us);
    for (unsigned i = 0; i < ARRAY_LENGTH(longs) && rc == 0; i++) {
        rc = buffer_put_u64(out, longs[i]);
    }
    return rc != 0 ? rc : window_save(&t->budget.starts, out);
}

static void load_small(struct destination *t, struct reader *in) {
    uint64_t *longs[] = {&t->adaptive.usual_us_256, &t->adaptive.seen_ns, &t->ramp.from_ns,
                         &t->ramp.next_ns,          &t->ramp.last_use_ns, &t->budget.slot_ns};
    t->adaptive.limit_milli = reader_u32(in);
    t->adaptive.short_us = reader_u32(in);
    for (unsigned i = 0; i < ARRAY_LENGTH(longs); i++) {
        *longs[i] = reader_u64(in);
    }
    window_load(&t->budget.starts, in);
}

static void save_destination(struct saver *s, const struct destination *t) {
    save_u32(s, t->index);
    save_u32(s, t->generation);
    save_u64(s, t->file_hash);
    save_u8(s, t->paused);
    save_u64(s, t->closed_until_ns);
    save_u64(s, t->started);
    save_u64(s, t->succeeded);
    save_u64(s, t->failed);
    s->rc = s->rc != 0 ? s->rc : destination_def_encode(&t->def, s->chunk);
    s->rc = s->rc != 0 ? s->rc : limits_save(&t->limits, s->chunk);
    save_u8(s, (uint8_t)t->pause_reason);
    save_u64(s, t->deferred);
    s->rc = s->rc != 0 ? s->rc : save_small(t, s->chunk);
    s->rc = s->rc != 0 ? s->rc : breaker_save(&t->breaker, s->chunk);
    s->rc = s->rc != 0 ? s->rc : endpoints_save(&t->endpoints, s->chunk);
    s->rc = s->rc != 0 ? s->rc : failover_save(&t->failover, s->chunk);
    save_item_end(s);
}

static void save_attempt(struct saver *s, const struct attempt *a) {
    save_u64(s, a->message);
    save_u32(s, a->attempt);
    save_u32(s, a->destination);
    save_u64(s, a->started_ns);
    save_u64(s, a->timeout_ns);
    save_u32(s, a->home);
    save_u32(s, a->endpoint);
    save_u32(s, a->breaker_probe);
    save_u32(s, a->failover_probe);
    save_u64(s, a->lead);
    save_u8(s, a->shares_token);
    save_u8(s, a->holds_place);
    save_u8(s, a->confirmed);
    save_key(s, key_text_span(&a->note));
    save_item_end(s);
}

static void save_attempts(struct saver *s, const struct list *attempts) {
    uint32_t count = 0;
    for (struct list_node *n = list_first(attempts); n != NULL; n = list_next(attempts, n)) {
        count++;
    }
    save_u32(s, count);
    for (struct list_node *n = list_first(attempts); n != NULL; n = list_next(attempts, n)) {
        save_attempt(s, CONTAINER_OF(n, struct attempt, node));
    }
}

int destination_save(const struct model *m, struct buffer *chunk,
                     int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct destinations *all = m->destinations;
    struct saver s = {.chunk = chunk, .flush = flush, .sink = sink};
    save_u32(&s, all->generation);
    roster_save(&all->roster, &s);
    for (uint32_t i = roster_after(&all->roster, 0); i != 0; i = roster_after(&all->roster, i)) {
        save_destination(&s, destination_at(m, i));
    }
    save_attempts(&s, &all->started);
    save_attempts(&s, &all->confirming);
    return s.rc;
}

/* What came with version 2. */
static int load_parts(struct model *m, struct destination *t, struct reader *in) {
    int rc = limits_load(&t->limits, in);
    uint8_t reason = reader_u8(in);
    t->pause_reason = (enum pause_reason)reason;
    t->deferred = reader_u64(in);
    load_small(t, in);
    if (rc == 0 && (in->failed || reason > PAUSE_GONE)) {
        rc = E_CORRUPT;
    }
    rc = rc != 0 ? rc : breaker_load(&t->breaker, in);
    rc = rc != 0 ? rc : endpoints_load(&t->endpoints, in);
    rc = rc != 0 ? rc : failover_load(&t->failover, in);
    return rc != 0 ? rc : destination_set_timer(m, t);
}

static int load_destination(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    uint32_t generation = reader_u32(in);
    struct destination values = {.file_hash = reader_u64(in)};
    uint8_t paused = reader_u8(in);
    values.closed_until_ns = reader_u64(in);
    values.started = reader_u64(in);
    values.succeeded = reader_u64(in);
    values.failed = reader_u64(in);
    struct destination_def def;
    int rc = in->failed || paused > 1 ? E_CORRUPT : destination_def_decode(in, &def);
    struct destination *t;
    if (rc == 0) {
        rc = destination_make(m, index, &def, 0, &t);
    }
    if (rc == 0) {
        t->generation = generation;
        t->file_hash = values.file_hash;
        t->paused = paused == 1;
        t->closed_until_ns = values.closed_until_ns;
        t->started = values.started;
        t->succeeded = values.succeeded;
        t->failed = values.failed;
        t->pause_reason = t->paused ? PAUSE_BY_HAND : PAUSE_NONE;
        rc = m->section_version >= 2 ? load_parts(m, t, in) : pace_load(&t->limits.paces[0], in);
    }
    if (rc == 0) {
        queue_destination_changed(m, t->name, index);
    }
    return rc;
}

/* A confirming one is counted where it waits; its message must be there and wait as well. */
static int add_loaded(struct model *m, struct attempt *a, struct span note) {
    struct destination *t = destination_at(m, a->destination);
    struct message_view v;
    bool waits = queue_message_view(m, a->message, &v) && v.state == MESSAGE_CONFIRMING;
    if (t == NULL || a->confirmed > CONFIRM_MISSED || waits != a->confirming ||
        (a->holds_place && !a->confirming)) {
        return E_CORRUPT;
    }
    int rc = key_text_init(&a->note, note);
    rc = rc != 0 ? rc : attempt_add(m->destinations, a);
    if (rc != 0) {
        key_text_release(&a->note);
    } else {
        t->confirming += a->confirming;
        t->held_places += a->holds_place;
    }
    return rc;
}

static int load_attempts(struct model *m, struct reader *in, bool confirming) {
    uint32_t count = reader_u32(in);
    if (in->failed || count > in->left / ATTEMPT_SAVED_BYTES) {
        return E_CORRUPT;
    }
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct attempt a = {.message = reader_u64(in), .confirming = confirming};
        struct span note = span_of(NULL, 0);
        a.attempt = reader_u32(in);
        a.destination = reader_u32(in);
        a.started_ns = reader_u64(in);
        a.timeout_ns = reader_u64(in);
        if (m->section_version >= 2) {
            a.home = reader_u32(in);
            a.endpoint = reader_u32(in);
            a.breaker_probe = reader_u32(in);
            a.failover_probe = reader_u32(in);
        }
        if (m->section_version >= 3) {
            if (m->section_version >= 4) {
                a.lead = reader_u64(in);
                a.shares_token = reader_u8(in) == 1;
            }
            a.holds_place = reader_u8(in) == 1;
            a.confirmed = reader_u8(in);
            note = reader_key(in);
        }
        rc = in->failed ? E_CORRUPT : add_loaded(m, &a, note);
    }
    return rc;
}

static uint32_t count_sharing(const struct destinations *all) {
    uint32_t count = 0;
    for (struct list_node *n = list_first(&all->started); n != NULL;
         n = list_next(&all->started, n)) {
        count += CONTAINER_OF(n, struct attempt, node)->shares_token;
    }
    return count;
}

static uint32_t count_attempts(const struct destinations *all, uint32_t destination) {
    uint32_t count = 0;
    for (struct list_node *n = list_first(&all->started); n != NULL;
         n = list_next(&all->started, n)) {
        const struct attempt *a = CONTAINER_OF(n, struct attempt, node);
        count += a->destination == destination && !a->shares_token;
    }
    return count;
}

/* P2: what the limits count is under way. Few destinations have anything under way. */
static bool attempts_fit(const struct destinations *all) {
    uint64_t in_flight = count_sharing(all);
    for (uint32_t i = roster_after(&all->roster, 0); i != 0; i = roster_after(&all->roster, i)) {
        const struct destination *t = roster_at(&all->roster, i);
        uint32_t here = limits_in_flight(&t->limits);
        if (here > 0 && here != count_attempts(all, i)) {
            return false;
        }
        in_flight += here + t->confirming;
    }
    return in_flight == all->attempt_cells.live;
}

int destination_load(struct model *m, struct reader *section) {
    struct destinations *all = m->destinations;
    uint32_t generation = reader_u32(section);
    uint32_t items;
    int rc = section->failed ? E_CORRUPT : roster_load(&all->roster, section, &items);
    for (uint32_t i = 0; rc == 0 && i < items; i++) {
        rc = load_destination(m, section);
    }
    if (rc == 0) {
        rc = load_attempts(m, section, false);
    }
    if (rc == 0 && m->section_version >= 3) {
        rc = load_attempts(m, section, true);
    }
    all->generation = generation;
    return rc == 0 && (!reader_done(section) || !attempts_fit(all)) ? E_CORRUPT : rc;
}

bool destination_knows_confirming(const struct model *m) {
    const struct roster *all = &m->destinations->roster;
    uint64_t known = 0;
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        known += destination_at(m, i)->confirming;
    }
    return known == queue_confirming(m);
}

/* Each has a message that waits; and each destination knows how many. */
static uint32_t count_held(const struct model *m) {
    const struct destinations *all = m->destinations;
    uint32_t count = 0, told = 0;
    for (struct list_node *n = list_first(&all->confirming); n != NULL;
         n = list_next(&all->confirming, n)) {
        const struct attempt *a = CONTAINER_OF(n, struct attempt, node);
        struct message_view v;
        assert(a->confirming && queue_message_view(m, a->message, &v) &&
               v.state == MESSAGE_CONFIRMING);
        count++;
    }
    for (uint32_t i = roster_after(&all->roster, 0); i != 0; i = roster_after(&all->roster, i)) {
        told += destination_at(m, i)->confirming;
    }
    assert(told == count);
    return count;
}

void destination_check(const struct model *m) {
    const struct destinations *all = m->destinations;
    roster_check(&all->roster);
    uint32_t in_flight = count_held(m) + count_sharing(all);
    for (uint32_t i = roster_after(&all->roster, 0); i != 0; i = roster_after(&all->roster, i)) {
        const struct destination *t = destination_at(m, i);
        assert(t->index == i && strcmp(t->name, t->def.name) == 0);
        limits_check(&t->limits);
        breaker_check(&t->breaker);
        endpoints_check(&t->endpoints);
        assert(limits_in_flight(&t->limits) == count_attempts(all, i)); /* P2 */
        assert(t->timer_ns == t->failover.evaluate_ns);
        assert(timer_is_true(m, TIMER_DESTINATION, i, 0, t->timer_ns));
        in_flight += limits_in_flight(&t->limits);
    }
    assert(in_flight == all->attempt_cells.live && in_flight == all->attempts.count);
    destination_ready_check(m);
}
