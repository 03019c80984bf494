#include "model/endpoint.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "model/definition.h"

#define CALLS_WINDOW_NS (10 * NS_PER_SECOND)
#define AVERAGE_TAU_NS  (10 * NS_PER_SECOND)
#define EJECTIONS_MAX   10u /* after that an ejection gets no longer */
#define PIN_SETS        4096u
#define PIN_WAYS        4u
#define PINS            (PIN_SETS * PIN_WAYS)
#define WEIGHT_UNIT     1000u
#define DURATION_MAX_US (UINT64_C(86400) * 1000000)

bool balance_def_valid(const struct balance_def *def) {
    return def->policy <= BALANCE_TWO_CHOICES && def->key <= BALANCE_KEY_TENANT &&
           def->pin_ns <= 365 * 86400 * NS_PER_SECOND && def->eject_success_percent <= 100 &&
           def->eject_ns >= 1 && def->eject_ns <= 86400 * NS_PER_SECOND &&
           def->eject_max_percent <= 100 && def->slow_start_ns <= 86400 * NS_PER_SECOND;
}

/* The key of the hash is no secret: ids stand in the log and must be the same everywhere. */
uint32_t endpoint_id(struct span name) {
    uint64_t hash = hash_bytes((struct hash_key){0x736c75696365, 0x656e64706f696e74}, name);
    uint32_t id = (uint32_t)(hash >> 32);
    return id != 0 ? id : 1;
}

/* ---- definition ---- */

void endpoints_init(struct endpoints *e) {
    *e = (struct endpoints){0};
}

void endpoints_release(struct endpoints *e) {
    free(e->items);
    free(e->pins);
    endpoints_init(e);
}

struct endpoint *endpoint_find(const struct endpoints *e, uint32_t id) {
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->items[i].id == id) {
            return &e->items[i];
        }
    }
    return NULL;
}

static int define_pins(struct endpoints *e, bool wanted) {
    if (wanted == (e->pins != NULL)) {
        return 0;
    }
    free(e->pins);
    e->pins = wanted ? calloc(PINS, sizeof *e->pins) : NULL;
    return wanted && e->pins == NULL ? E_NOMEM : 0;
}

int endpoints_define(struct endpoints *e, const struct endpoint_def *defs, uint32_t count,
                     const struct balance_def *balance) {
    struct endpoint *items = NULL;
    if (count > 0 && (items = calloc(count, sizeof *items)) == NULL) {
        return E_NOMEM;
    }
    int rc = define_pins(e, balance->pin_ns != 0 && count > 0);
    if (rc != 0) {
        free(items);
        return rc;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = endpoint_id(span_text(endpoint_def_name(&defs[i])));
        const struct endpoint *known = endpoint_find(e, id);
        items[i] = known != NULL ? *known : (struct endpoint){.id = id};
        items[i].weight = defs[i].weight;
        window_define(&items[i].calls, CALLS_WINDOW_NS);
    }
    free(e->items);
    e->items = items;
    e->count = count;
    return 0;
}

/* ---- how they do ---- */

bool endpoint_is_in(const struct endpoint *n, uint64_t now_ns, uint64_t *ret_at_ns) {
    bool said_no = n->down || n->out;
    if (!said_no && n->ejected_until_ns <= now_ns) {
        return true;
    }
    if (ret_at_ns != NULL) {
        *ret_at_ns = said_no ? UINT64_MAX : n->ejected_until_ns;
    }
    return false;
}

bool endpoints_any_in(const struct endpoints *e, uint64_t now_ns, uint64_t *ret_at_ns) {
    uint64_t first_ns = UINT64_MAX;
    for (uint32_t i = 0; i < e->count; i++) {
        uint64_t at_ns;
        if (endpoint_is_in(&e->items[i], now_ns, &at_ns)) {
            return true;
        }
        first_ns = at_ns < first_ns ? at_ns : first_ns;
    }
    *ret_at_ns = first_ns;
    return e->count == 0;
}

uint64_t endpoint_weight(const struct endpoint *n, const struct balance_def *def, uint64_t now_ns) {
    uint64_t whole = (uint64_t)n->weight * WEIGHT_UNIT;
    if (def->slow_start_ns == 0 || n->returned_ns == 0 || now_ns < n->returned_ns ||
        now_ns >= n->returned_ns + def->slow_start_ns) {
        return whole;
    }
    uint64_t share = (now_ns - n->returned_ns) / (def->slow_start_ns / 1000 + 1); /* thousandths */
    uint64_t weight = whole * (share > 100 ? share : 100) / 1000;
    return weight > 0 ? weight : 1;
}

uint32_t endpoint_success_percent(const struct endpoint *n, uint64_t now_ns) {
    struct call_count t = window_sum(&n->calls, now_ns);
    return t.total == 0 ? 100 : (uint32_t)(100 - (uint64_t)t.bad * 100 / t.total);
}

/* A slow answer counts at once, a quick one only as time passes: who was slow a moment ago is not trusted yet. */
static void note_time(struct endpoint *n, uint64_t us, uint64_t now_ns) {
    us = us < 1 ? 1 : us < DURATION_MAX_US ? us : DURATION_MAX_US;
    if (n->average_us == 0 || us >= n->average_us) {
        n->average_us = us;
    } else {
        uint64_t passed_ns = now_ns - n->answered_ns;
        passed_ns = passed_ns < AVERAGE_TAU_NS ? passed_ns : AVERAGE_TAU_NS;
        passed_ns = passed_ns > NS_PER_MS ? passed_ns : NS_PER_MS;
        uint64_t gap_us = n->average_us - us;
        uint64_t step_us = gap_us / NS_PER_MS * passed_ns / (AVERAGE_TAU_NS / NS_PER_MS) +
                           gap_us % NS_PER_MS * passed_ns / AVERAGE_TAU_NS;
        n->average_us -= step_us > 0 ? step_us : 1;
    }
    n->answered_ns = now_ns;
}

static bool may_eject_one_more(const struct endpoints *e, const struct balance_def *def,
                               uint64_t now_ns) {
    uint32_t ejected = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        ejected += e->items[i].ejected_until_ns > now_ns;
    }
    return (ejected + 1) * 100 <= e->count * def->eject_max_percent;
}

static void eject(struct endpoints *e, const struct balance_def *def, struct endpoint *n,
                  uint64_t now_ns) {
    if (n->ejected_until_ns > now_ns || !may_eject_one_more(e, def, now_ns)) {
        return;
    }
    n->ejections += n->ejections < EJECTIONS_MAX;
    n->ejected_until_ns = now_ns + def->eject_ns * n->ejections;
    n->returned_ns = n->ejected_until_ns;
    n->errors = 0;
    window_clear(&n->calls);
}

static bool is_bad(const struct endpoint *n, const struct balance_def *def, uint64_t now_ns) {
    if (def->eject_errors != 0 && n->errors >= def->eject_errors) {
        return true;
    }
    struct call_count t = window_sum(&n->calls, now_ns);
    return def->eject_success_percent != 0 && t.total >= def->eject_minimum &&
           endpoint_success_percent(n, now_ns) < def->eject_success_percent;
}

void endpoint_end(struct endpoints *e, const struct balance_def *def, uint32_t id,
                  enum call_outcome outcome, uint64_t duration_us, uint64_t now_ns) {
    struct endpoint *n = endpoint_find(e, id);
    if (n == NULL) {
        return;
    }
    n->in_flight -= n->in_flight > 0; /* it may be a new one by an old name */
    if (outcome == OUTCOME_NONE) {
        return;
    }
    bool bad = outcome == OUTCOME_BAD;
    window_add(&n->calls, now_ns, (struct call_count){.total = 1, .bad = bad});
    n->succeeded += !bad;
    n->failed += bad;
    n->errors = bad ? n->errors + (n->errors < UINT32_MAX) : 0;
    note_time(n, duration_us, now_ns);
    if (bad && is_bad(n, def, now_ns)) {
        eject(e, def, n, now_ns);
    } else if (!bad && n->ejections > 0 && now_ns > n->ejected_until_ns + def->eject_ns) {
        n->ejections--; /* a good while: the next ejection is shorter again */
        n->ejected_until_ns = now_ns;
    }
}

bool endpoint_changes(const struct endpoint *n, enum endpoint_change change, uint64_t now_ns) {
    switch (change) {
    case ENDPOINT_OUT:
        return !n->out;
    case ENDPOINT_IN:
        return n->out || n->ejected_until_ns > now_ns;
    case ENDPOINT_DOWN:
        return !n->down;
    case ENDPOINT_UP:
        return n->down;
    }
    return false;
}

void endpoint_change(struct endpoint *n, enum endpoint_change change, uint64_t now_ns) {
    bool was_in = endpoint_is_in(n, now_ns, NULL);
    if (change == ENDPOINT_OUT || change == ENDPOINT_IN) {
        n->out = change == ENDPOINT_OUT;
    } else {
        n->down = change == ENDPOINT_DOWN;
    }
    if (change == ENDPOINT_IN && n->ejected_until_ns > now_ns) {
        n->ejected_until_ns = now_ns;
        n->ejections = 0;
    }
    if (!was_in && endpoint_is_in(n, now_ns, NULL)) {
        n->returned_ns = now_ns;
        n->errors = 0;
    }
}

/* ---- pins ---- */

static struct pin *pin_set_of(const struct endpoints *e, uint64_t key) {
    return &e->pins[hash_u64(key) % PIN_SETS * PIN_WAYS];
}

uint32_t pin_find(const struct endpoints *e, uint64_t key, uint64_t now_ns) {
    if (e->pins == NULL || key == 0) {
        return 0;
    }
    const struct pin *set = pin_set_of(e, key);
    for (uint32_t i = 0; i < PIN_WAYS; i++) {
        if (set[i].key == key && set[i].until_ns > now_ns) {
            return set[i].endpoint;
        }
    }
    return 0;
}

void pin_set(struct endpoints *e, uint64_t key, uint32_t endpoint, uint64_t until_ns) {
    if (e->pins == NULL || key == 0) {
        return;
    }
    struct pin *set = pin_set_of(e, key);
    struct pin *at = &set[0];
    for (uint32_t i = 0; i < PIN_WAYS; i++) {
        if (set[i].key == key) {
            at = &set[i];
            break;
        }
        at = set[i].until_ns < at->until_ns ? &set[i] : at;
    }
    *at = (struct pin){.key = key, .until_ns = until_ns, .endpoint = endpoint};
}

/* ---- snapshot ---- */

static int save_one(const struct endpoint *n, struct buffer *out) {
    const uint32_t words[] = {n->id, n->in_flight, n->errors, n->ejections};
    const uint64_t longs[] = {(uint64_t)n->turn, n->average_us, n->answered_ns, n->ejected_until_ns,
                              n->returned_ns,    n->started,    n->succeeded,   n->failed};
    int rc = buffer_put_u8(out, (uint8_t)(n->down | n->out << 1));
    for (unsigned i = 0; i < ARRAY_LENGTH(words) && rc == 0; i++) {
        rc = buffer_put_u32(out, words[i]);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(longs) && rc == 0; i++) {
        rc = buffer_put_u64(out, longs[i]);
    }
    return rc != 0 ? rc : window_save(&n->calls, out);
}

static int load_one(struct endpoint *n, struct reader *in) {
    uint8_t flags = reader_u8(in);
    uint32_t id = reader_u32(in);
    uint32_t *words[] = {&n->in_flight, &n->errors, &n->ejections};
    uint64_t turn = 0;
    uint64_t *longs[] = {&turn,           &n->average_us, &n->answered_ns, &n->ejected_until_ns,
                         &n->returned_ns, &n->started,    &n->succeeded,   &n->failed};
    for (unsigned i = 0; i < ARRAY_LENGTH(words); i++) {
        *words[i] = reader_u32(in);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(longs); i++) {
        *longs[i] = reader_u64(in);
    }
    window_load(&n->calls, in);
    n->turn = (int64_t)turn;
    n->down = (flags & 1) != 0;
    n->out = (flags & 2) != 0;
    return in->failed || id != n->id || flags > 3 ? E_CORRUPT : 0;
}

/* u32 n, n endpoints; u32 k, k pins: u32 place, u64 key, u64 until, u32 endpoint. */
int endpoints_save(const struct endpoints *e, struct buffer *out) {
    int rc = buffer_put_u32(out, e->count);
    for (uint32_t i = 0; i < e->count && rc == 0; i++) {
        rc = save_one(&e->items[i], out);
    }
    uint32_t used = 0;
    for (uint32_t i = 0; i < PINS && e->pins != NULL; i++) {
        used += e->pins[i].key != 0;
    }
    rc = rc != 0 ? rc : buffer_put_u32(out, used);
    for (uint32_t i = 0; i < PINS && e->pins != NULL && rc == 0; i++) {
        if (e->pins[i].key != 0) {
            rc = buffer_put_u32(out, i);
            rc = rc != 0 ? rc : buffer_put_u64(out, e->pins[i].key);
            rc = rc != 0 ? rc : buffer_put_u64(out, e->pins[i].until_ns);
            rc = rc != 0 ? rc : buffer_put_u32(out, e->pins[i].endpoint);
        }
    }
    return rc;
}

int endpoints_load(struct endpoints *e, struct reader *in) {
    if (reader_u32(in) != e->count) {
        return E_CORRUPT;
    }
    for (uint32_t i = 0; i < e->count; i++) {
        int rc = load_one(&e->items[i], in);
        if (rc != 0) {
            return rc;
        }
    }
    for (uint32_t left = reader_u32(in); left > 0; left--) {
        uint32_t place = reader_u32(in);
        struct pin pin = {.key = reader_u64(in)};
        pin.until_ns = reader_u64(in);
        pin.endpoint = reader_u32(in);
        if (in->failed || e->pins == NULL || place >= PINS) {
            return E_CORRUPT;
        }
        e->pins[place] = pin;
    }
    return in->failed ? E_CORRUPT : 0;
}

uint64_t endpoints_memory_bytes(const struct endpoints *e) {
    return e->count * sizeof *e->items + (e->pins != NULL ? PINS * sizeof *e->pins : 0);
}

void endpoints_check(const struct endpoints *e) {
    for (uint32_t i = 0; i < e->count; i++) {
        const struct endpoint *n = &e->items[i];
        assert(endpoint_find(e, n->id) == n);
        assert(n->weight >= 1 && n->weight <= ENDPOINT_WEIGHT_MAX);
    }
}
