#include "slips.h"

#include <string.h>

#include "chores.h"
#include "tenants.h"

static bool matches_id(const void *owner, uint32_t tag, const void *id) {
    const struct slips *l = owner;
    return l->items[tag].id == *(const uint64_t *)id;
}

static void draw_desks(const struct sim *s, struct slips *l) {
    static const struct desk_facts desks[DESKS] = {
        [DESK_WORK] = {.name = "desk-work", .destination = "desk-out"},
        [DESK_ASIDE] = {.name = "desk-aside"},
        [DESK_ONCE] = {.name = "desk-once", .destination = "desk-out"},
        [DESK_FAIR] = {.name = "desk-fair", .destination = "desk-round"},
        [DESK_BANK] = {.name = "desk-bank", .destination = "desk-bank"},
        [DESK_BULK] = {.name = "desk-bulk", .destination = "desk-bulk"},
    };
    uint64_t draw = sim_draw(s, 'D', 0);
    for (unsigned d = 0; d < DESKS; d++) {
        l->desks[d] = desks[d];
        l->desks[d].max_messages = 900;
        l->desks[d].max_attempts = 1 + (uint32_t)(sim_draw(s, 'D', 1 + d) % 4);
    }
    l->desks[DESK_ASIDE].max_messages = 20 + (uint32_t)(draw % 400);
    l->until_delivered = (draw >> 10) % 2 == 0;
    l->refuses_twins = (draw >> 11) % 2 == 0;
    l->window_ns = (20 + (draw >> 12) % 3000) * NS_PER_MS;
    draw = sim_draw(s, 'D', 20);
    l->confirm_ns = (30 + draw % 500) * NS_PER_MS;
    l->missed_is_dead = (draw >> 20) % 3 == 0;
    l->holds_place = (draw >> 22) % 2 == 0;
    l->places = 2 + (uint32_t)(draw >> 24) % 12;
    l->batch_most = 2 + (uint32_t)(draw >> 32) % 20;
}

struct slips *slips_create(const struct sim *s) {
    struct slips *l = sim_alloc(sizeof(*l));
    map_init(&l->by_id, l, matches_id);
    l->count = 1; /* the first stands for none */
    l->capacity = 2048;
    l->items = sim_alloc(l->capacity * sizeof(*l->items));
    draw_desks(s, l);
    return l;
}

void slips_free(struct slips *l) {
    map_release(&l->by_id);
    free(l->items);
    free(l);
}

uint32_t slip_make(struct sim *s, unsigned desk) {
    struct slips *l = s->slips;
    if (l->count >= l->capacity) {
        l->capacity *= 2;
        l->items = realloc(l->items, l->capacity * sizeof(*l->items));
        assert(l->items != NULL);
    }
    uint32_t tag = l->count++;
    l->items[tag] = (struct slip){.desk = (uint8_t)desk, .asked = true, .versions = 1};
    return tag;
}

uint32_t slip_find(const struct sim *s, uint64_t id) {
    return map_find(&s->slips->by_id, hash_u64(id), &id);
}

/* ---- its text ---- */

static uint64_t text_draw(uint32_t tag, unsigned version) {
    return hash_u64(((uint64_t)tag << 16 | version) + 1);
}

uint32_t slip_bytes(uint32_t tag, unsigned version) {
    uint64_t draw = text_draw(tag, version);
    return 64 +
           (uint32_t)(draw % 40 == 0 ? (draw >> 8) % (SLIP_BYTES_MAX - 64) : (draw >> 8) % 150);
}

uint8_t slip_priority(unsigned version) {
    return (uint8_t)(version % 10);
}

bool slip_is_odd(uint32_t tag) {
    return tag % 2 == 1;
}

void slip_fill(uint32_t tag, unsigned version, uint8_t *out) {
    int head = snprintf((char *)out, SLIP_BYTES_MAX, "slip %u version %u, an %s ", tag, version,
                        slip_is_odd(tag) ? SLIP_ODD_TEXT : "even one");
    memset(out + head, 'a' + (int)(text_draw(tag, version) >> 40) % 26,
           SLIP_BYTES_MAX - (size_t)head);
}

uint32_t slip_of_body(struct sim *s, struct span body) {
    char head[64] = "";
    uint8_t expected[SLIP_BYTES_MAX];
    unsigned tag = 0, version = 0;
    memcpy(head, body.data, body.size < sizeof(head) ? body.size : sizeof(head) - 1);
    int found = sscanf(head, "slip %u version %u,", &tag, &version);
    SIM_CHECK(s, found == 2 && tag > 0 && tag < s->slips->count && version < VERSIONS_MAX,
              "a slip that nobody wrote (%zu bytes)", body.size);
    slip_fill(tag, version, expected);
    SIM_CHECK(s, span_equal(body, span_of(expected, slip_bytes(tag, version))),
              "the text of slip %u is version %u in part", tag, version);
    struct slip *l = slip_at(s, tag);
    SIM_CHECK(s, l->versions >> version & 1, "slip %u has version %u; it may have %llx", tag,
              version, (unsigned long long)l->versions);
    l->versions = UINT64_C(1) << version;
    l->last_version = (uint8_t)version;
    return tag;
}

/* ---- what can have become of it ---- */

unsigned slip_told(const struct sim *s, uint32_t tag, enum confirm_outcome outcome) {
    const struct slip *l = slip_at(s, tag);
    if (outcome == CONFIRM_SUCCEEDED)
        return SLIP_GONE;
    bool used_up = l->attempts >= s->slips->desks[DESK_BANK].max_attempts;
    return outcome == CONFIRM_FAILED || used_up ? SLIP_DEAD(DESK_BANK) : SLIP_WAITS(DESK_BANK);
}

unsigned slip_may_be_told(const struct sim *s, uint32_t tag) {
    const struct slip *l = slip_at(s, tag);
    unsigned may = l->told != 0 ? slip_told(s, tag, (enum confirm_outcome)l->told) : 0;
    for (unsigned o = CONFIRM_SUCCEEDED; o <= CONFIRM_RETRY; o++)
        if (l->may_tell >> o & 1)
            may |= slip_told(s, tag, (enum confirm_outcome)o);
    return may;
}

unsigned slip_may(const struct sim *s, uint32_t tag) {
    const struct slip *l = slip_at(s, tag);
    unsigned may = l->may;
    bool missed = l->confirming && sim_engine_ns(s) >= l->confirm_from_ns;
    bool last = s->slips->missed_is_dead || l->attempts >= s->slips->desks[DESK_BANK].max_attempts;
    if (missed && last)
        may |= SLIP_DEAD(DESK_BANK);
    return chores_may(s, tag, may);
}

static void count_waiting(struct sim *s, const struct slip *l, unsigned change) {
    for (unsigned d = 0; d < DESKS; d++) {
        struct desk_facts *desk = &s->slips->desks[d];
        desk->maybe += l->may & SLIP_WAITS(d) ? change : 0;
        desk->certain += l->may == SLIP_WAITS(d) ? change : 0;
    }
}

static void set_fresh(struct sim *s, struct slip *l, bool fresh) {
    s->slips->fresh[l->tenant] += (unsigned)fresh - (unsigned)l->fresh;
    l->fresh = fresh;
}

void slip_set(struct sim *s, uint32_t tag, unsigned may) {
    struct slip *l = slip_at(s, tag);
    if (may != l->may) {
        l->since = ++s->slips->asked;
        l->ready = 0;
    }
    count_waiting(s, l, -1u);
    l->may = (uint16_t)may;
    count_waiting(s, l, 1);
    l->left_key |= (may & ~SLIP_WAITS(l->desk)) != 0;
    l->lost_key |= (may & SLIP_WAITS(l->desk)) == 0;
    if (may != SLIP_WAITS(DESK_FAIR) || l->attempts > 0)
        set_fresh(s, l, false);
    if ((may & SLIP_WAITS(DESK_BANK)) == 0)
        l->confirming = false;
}

void slip_taken_until_now(struct sim *s, uint32_t tag) {
    struct slip *l = slip_at(s, tag);
    unsigned may = slip_may(s, tag);
    l->anew |= chores_may_renew(s, tag);
    if (may != l->may)
        slip_set(s, tag, may);
}

void slip_accepted(struct sim *s, uint32_t tag, uint64_t id, uint64_t accepted_ns) {
    struct slip *l = slip_at(s, tag);
    SIM_CHECK(s, !l->refused, "slip %u was refused and is there", tag);
    SIM_CHECK(s, l->id == 0 || l->id == id, "slip %u has two receipts: %llx and %llx", tag,
              (unsigned long long)l->id, (unsigned long long)id);
    bool answered = l->asked && l->id == 0;
    l->asked = false;
    if (l->id != 0)
        return;
    uint32_t other = slip_find(s, id);
    SIM_CHECK(s, other == 0, "slips %u and %u have one receipt", other, tag);
    l->id = id;
    l->accepted_ns = accepted_ns;
    int error = map_insert(&s->slips->by_id, hash_u64(id), tag);
    assert(error == 0);
    slip_set(s, tag, SLIP_WAITS(l->desk));
    if (answered && l->desk == DESK_FAIR)
        set_fresh(s, l, true);
    if (l->key != 0 &&
        (s->slips->latest[l->key] == 0 || slip_at(s, s->slips->latest[l->key])->id < id))
        s->slips->latest[l->key] = tag;
}

void slip_renewed(struct sim *s, uint32_t tag, unsigned desk) {
    struct slip *l = slip_at(s, tag);
    l->attempts = 0;
    l->anew = false;
    l->told = l->told_often = 0;
    slip_set(s, tag, SLIP_WAITS(desk));
    set_fresh(s, l, false);
}

void slip_begins(struct sim *s, uint32_t tag, unsigned desk, uint32_t attempt) {
    struct slip *l = slip_at(s, tag);
    SIM_CHECK(s, slip_may(s, tag) & SLIP_WAITS(desk), "slip %u is sent from %s; it may be %x", tag,
              s->slips->desks[desk].name, slip_may(s, tag));
    SIM_CHECK(s, l->under_way == 0, "slip %u is sent twice at once", tag);
    SIM_CHECK(s, !l->confirming || sim_engine_ns(s) >= l->confirm_from_ns,
              "slip %u is sent again before its confirmation is overdue", tag);
    bool anew = attempt == 1 && (l->anew || chores_may_renew(s, tag));
    SIM_CHECK(s, attempt == l->attempts + 1 || anew, "slip %u: attempt %u follows %u", tag, attempt,
              l->attempts);
    SIM_CHECK(s, attempt <= s->slips->desks[desk].max_attempts + s->result->restarts,
              "slip %u has attempt %u, %u are allowed", tag, attempt,
              s->slips->desks[desk].max_attempts);
    l->anew = l->stranded = l->confirming = false;
    l->told = l->told_often = l->may_tell = 0;
    l->attempts = l->under_way = attempt;
    slip_set(s, tag, SLIP_WAITS(desk));
}

/* What was told of an attempt decides when the process is gone; else the message is sent again. */
void slips_restart(struct sim *s) {
    for (uint32_t tag = 1; tag < s->slips->count; tag++) {
        struct slip *l = slip_at(s, tag);
        unsigned may = l->under_way != 0 && l->told != 0 ? 0 : l->may;
        may |= slip_may_be_told(s, tag);
        l->under_way = 0;
        if (may != l->may)
            slip_set(s, tag, may);
    }
    tenants_restart(s);
}

bool slips_all_sent(const struct sim *s) {
    for (unsigned d = 0; d < DESKS; d++)
        if (s->slips->desks[d].destination != NULL && s->slips->desks[d].maybe > 0)
            return false;
    return chores_idle(s);
}
