/*
 * Idempotency keys against a twin that is an array: what is known, what is over, when there is no room.
 * A seed that fails is printed; give it as argument to run it alone.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/dedup.h"
#include "world.h"

#define KEYS   64u
#define SCOPES 3u
#define LIMIT  40u
#define SEEDS  60u
#define STEPS  3000u
#define TTL_NS 500u

struct twin_key {
    uint64_t end_ns; /* 0: never stored */
    uint64_t fingerprint, id;
};

static uint64_t current_seed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\n", (unsigned long long)current_seed, __FILE__,  \
                    __LINE__, #condition);                                                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void store(struct world *w, const struct idempotency *k, struct twin_key *twin) {
    static const uint64_t ttls[] = {0, 0, 0, 0, 1, 90, 130, 700, 5000};
    uint64_t ttl_ns = ttls[rng_below(&w->rng, ARRAY_LENGTH(ttls))];
    struct decision d = world_begin(w);
    struct receipt outcome = {.id = id_make(d.position, 0), .accepted_ns = d.now_ns};
    dedup_emit(w->model, &d, k, &outcome, ttl_ns);
    world_commit(w, &d);
    *twin = (struct twin_key){.end_ns = w->now_ns + (ttl_ns != 0 ? ttl_ns : TTL_NS),
                              .fingerprint = k->fingerprint,
                              .id = outcome.id};
}

static void step(struct world *w, struct twin_key (*twins)[SCOPES]) {
    uint64_t n = rng_below(&w->rng, KEYS), scope = rng_below(&w->rng, SCOPES);
    struct twin_key *twin = &twins[n][scope];
    char text[16];
    int size = snprintf(text, sizeof text, "key-%u", (unsigned)n);
    struct idempotency k = {
        .key = span_of(text, (size_t)size), .scope = scope, .fingerprint = rng_below(&w->rng, 100)};
    uint64_t fingerprint = 0;
    struct receipt outcome = {.id = 0};
    bool known = dedup_find(w->model, w->now_ns, &k, &fingerprint, &outcome);
    CHECK(known == (twin->end_ns > w->now_ns));
    if (known) {
        CHECK(fingerprint == twin->fingerprint && outcome.id == twin->id);
    } else if (dedup_has_room(w->model, w->now_ns)) {
        store(w, &k, twin);
    }
}

/* Room is refused only while as many keys as the limit, or nearly, are not over. */
static void check_room(const struct world *w, struct twin_key (*twins)[SCOPES]) {
    unsigned alive = 0;
    for (unsigned i = 0; i < KEYS * SCOPES; i++) {
        alive += twins[i / SCOPES][i % SCOPES].end_ns > w->now_ns;
    }
    CHECK(alive <= LIMIT);
    CHECK(alive == LIMIT ? !dedup_has_room(w->model, w->now_ns) : true);
}

static void run_seed(uint64_t seed) {
    current_seed = seed;
    struct world w;
    struct twin_key twins[KEYS][SCOPES] = {{{0}}};
    world_init(&w, &(struct model_limits){.dedup_keys = LIMIT, .dedup_ttl_ns = TTL_NS});
    rng_init(&w.rng, seed);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&w, twins);
        check_room(&w, twins);
        w.now_ns += rng_below(&w.rng, 20);
        if (rng_below(&w.rng, 300) == 0) {
            model_check(w.model);
            world_reload(&w);
        }
    }
    model_check(w.model);
    world_check_replay(&w);
    world_release(&w);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        run_seed(strtoull(argv[1], NULL, 10));
        return 0;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
    }
    printf("%u seeds of %u steps agree\n", SEEDS, STEPS);
    return 0;
}
