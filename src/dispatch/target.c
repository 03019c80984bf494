#include "dispatch/internal.h"
#include "dispatch/making.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/u64.h"
#include "model/roster.h"

#define DEFINITION_MAX_BYTES (64u << 10)

static void target_free(struct target *t) {
    struct list_node *n;
    while ((n = list_first(&t->idle)) != NULL) {
        call_end_idle(CONTAINER_OF(n, struct call, node));
    }
    for (uint32_t i = 0; i < t->origin_count; i++) {
        origin_release(&t->origins[i]);
    }
    free(t->origins);
    free(t->names);
    token_release(&t->token);
    destination_def_release(&t->def);
    header_list_release(&t->headers);
    free(t);
}

void target_unref(struct target *t) {
    assert(t->refs > 0);
    if (--t->refs == 0) {
        target_free(t);
    }
}

void targets_release(struct targets *t) {
    for (uint32_t slot = 0; slot < t->count; slot++) {
        if (t->cells[slot] != NULL) {
            target_unref(t->cells[slot]);
        }
    }
    free(t->cells);
}

/* Of its own URL and those of its endpoints; none if all is for curl. */
static int make_origins(struct target *t) {
    if (t->url_has_places || t->def.making.proxy[0] != '\0') {
        return 0;
    }
    t->origins = calloc(t->def.endpoints.count + 1, sizeof *t->origins);
    if (t->origins == NULL) {
        return E_NOMEM;
    }
    int rc = origin_init(&t->origins[t->origin_count++], t->def.url);
    for (uint32_t i = 0; i < t->def.endpoints.count && rc == 0; i++) {
        rc = origin_init(&t->origins[t->origin_count++], t->def.endpoints.items[i].url);
    }
    return rc;
}

static uint64_t gap_ns(const struct pace_def *limit) {
    return limit->mode == PACE_SMOOTH && limit->count > 0 ? limit->period_ns / limit->count : 0;
}

/* Strict ones go by ends, so none begins in place of one that waits. */
static uint64_t gap_of(const struct destination_def *def) {
    uint64_t longest_ns = gap_ns(&def->pace);
    for (uint32_t i = 0; i < def->limits.count; i++) {
        longest_ns = u64_max(longest_ns, gap_ns(&def->limits.items[i]));
    }
    return longest_ns;
}

static int target_fetch(struct dispatch *d, uint32_t index, struct target **ret) {
    struct target *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return E_NOMEM;
    }
    struct buffer bytes;
    buffer_init(&bytes, DEFINITION_MAX_BYTES);
    header_list_init(&t->headers);
    list_init(&t->idle);
    list_init(&t->line);
    t->owner = d;
    t->index = index;
    t->refs = 1;
    token_init(&t->token, t);
    int rc = engine_destination(d->engine, index, &t->generation, &bytes);
    if (rc == 0) {
        struct reader r;
        reader_init(&r, buffer_span(&bytes));
        rc = destination_def_decode(&r, &t->def);
    }
    if (rc == 0) {
        t->gap_ns = gap_of(&t->def);
        making_look(t);
        t->names = calloc(t->def.endpoints.count + 1, sizeof *t->names);
        rc = t->names == NULL         ? E_NOMEM
             : t->headers.failed != 0 ? t->headers.failed
                                      : make_origins(t);
    }
    buffer_release(&bytes);
    if (rc != 0) {
        target_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

static int make_cell(struct targets *all, uint32_t slot) {
    if (slot < all->count) {
        return 0;
    }
    uint32_t count = all->count == 0 ? 16 : all->count;
    while (count <= slot) {
        count *= 2;
    }
    struct target **cells = realloc(all->cells, count * sizeof *cells);
    if (cells == NULL) {
        return E_NOMEM;
    }
    memset(cells + all->count, 0, (count - all->count) * sizeof *cells);
    all->cells = cells;
    all->count = count;
    return 0;
}

/*
 * A start names the generation that it was decided under. An older one in the table is out of date: the engine is asked, and
 * what it says is used. A newer one is used as well: the destination was defined again while the start was on its
 * way, as a dozen are that were decided ahead. To ask for each of them would cost the kept connections each time.
 */
static bool is_out_of_date(const struct target *t, const struct attempt_start *start) {
    return t->index != start->destination ||
           (int32_t)(start->destination_generation - t->generation) > 0;
}

int target_get(struct dispatch *d, const struct attempt_start *start, struct target **ret) {
    uint32_t slot = ROSTER_SLOT(start->destination);
    int rc = make_cell(&d->targets, slot);
    if (rc != 0) {
        return rc;
    }
    struct target *t = d->targets.cells[slot];
    if (t == NULL || is_out_of_date(t, start)) {
        struct target *fresh;
        rc = target_fetch(d, start->destination, &fresh);
        if (rc != 0) {
            return rc;
        }
        if (t != NULL) {
            fresh->next_ns = t->next_ns;
            target_unref(t);
        }
        d->targets.cells[slot] = t = fresh;
    }
    t->refs++;
    *ret = t;
    return 0;
}

/* What is late may leave this much before its place in the line: what is sent at one wake-up (early.c), and some. */
#define CROWD_NS (8 * NS_PER_MS)
/* So long the line is at most; behind that it is a burst after all. */
#define LINE_MAX_NS (150 * NS_PER_MS)
/* So the line is shortened: 2 a second more at 500/s. */
#define CATCH_UP_DIVISOR 256u

/*
 * The machine, or this thread, may stand still for longer than starts are decided ahead. All of them have had their turns
 * then, and must not leave as a burst, which the provider would count: the pace holds for turns, this for what
 * leaves. It is GCRA again, by the gaps that the engine said, but nobody is refused: each is told its place in the line. So
 * what is sent in a second does not depend on how often the loop comes round. Who missed his place because it stood still again
 * goes to the end.
 */
uint64_t target_leaves_ns(struct target *t, struct attempt_start *start, uint64_t now_ns) {
    bool in_line = start->put_off && now_ns <= start_turn_ns(start) + CROWD_NS;
    if (start->gap_ns == 0 || in_line || !list_empty(&t->line)) {
        return now_ns;
    }
    uint64_t place_ns = t->next_ns > now_ns ? t->next_ns : now_ns;
    uint64_t last_ns = now_ns + LINE_MAX_NS + CROWD_NS;
    place_ns = place_ns < last_ns ? place_ns : last_ns;
    t->next_ns = place_ns + start->gap_ns - start->gap_ns / CATCH_UP_DIVISOR;
    return place_ns - now_ns > CROWD_NS ? place_ns - CROWD_NS : now_ns;
}

/* One of an earlier definition stands in the line of the present one. */
bool target_takes_place(struct target *t, uint64_t gaps, uint64_t now_ns) {
    struct target *present = t->owner->targets.cells[ROSTER_SLOT(t->index)];
    t = present->index == t->index ? present : t;
    if (t->next_ns > now_ns && t->gap_ns > 0) {
        return false;
    }
    uint64_t place_ns = t->next_ns + CROWD_NS > now_ns ? t->next_ns : now_ns;
    t->next_ns = place_ns + gaps * t->gap_ns;
    return true;
}

struct origin *target_origin(struct target *t, const char *url) {
    for (uint32_t i = 0; i < t->origin_count; i++) {
        if (t->origins[i].url == url) {
            return &t->origins[i];
        }
    }
    return NULL;
}

struct lookup_name *target_name(struct target *t, const char *url) {
    uint32_t i = t->def.endpoints.count;
    while (i > 0 && t->def.endpoints.items[i - 1].url != url) {
        i--;
    }
    return &t->names[i];
}
