#include "shares.h"

#include "letters.h"

#define LANES        3u
#define TURNS_BEHIND 2u
#define TURNS_APART  4u

struct share {
    uint64_t own, all; /* starts since it has messages */
};

struct shares {
    struct share guaranteed[LANES];
    uint64_t pair[2]; /* starts of the two without a guarantee while both have messages */
};

struct shares *shares_create(void) {
    return sim_alloc(sizeof(struct shares));
}

void shares_free(struct shares *h) {
    free(h);
}

void shares_restart(struct sim *s) {
    *s->shares = (struct shares){0};
}

/* By the answers there is one that could leave at once. */
static bool is_busy(const struct sim *s, unsigned queue) {
    const struct queue_facts *q = &s->letters->queues[queue];
    return q->fresh > 0 && !q->paused && !q->may_pause;
}

static void check_guarantee(struct sim *s, unsigned lane, unsigned queue) {
    const struct queue_facts *q = &s->letters->queues[QUEUE_LANE_FIRST + lane];
    struct share *h = &s->shares->guaranteed[lane];
    if (!is_busy(s, QUEUE_LANE_FIRST + lane)) {
        *h = (struct share){0};
        return;
    }
    h->all++;
    h->own += queue == QUEUE_LANE_FIRST + lane;
    SIM_CHECK(s, (h->own + TURNS_BEHIND) * 100 >= h->all * q->percent,
              "queue %s has %llu of %llu starts and is guaranteed %u percent", q->name,
              (unsigned long long)h->own, (unsigned long long)h->all, q->percent);
    s->result->shares += q->percent > 0;
}

static void check_pair(struct sim *s, unsigned queue) {
    unsigned one = QUEUE_LANE_FIRST + 1, other = QUEUE_LANE_FIRST + 2;
    uint64_t *n = s->shares->pair;
    if (!is_busy(s, one) || !is_busy(s, other)) {
        n[0] = n[1] = 0;
        return;
    }
    n[0] += queue == one;
    n[1] += queue == other;
    uint64_t w0 = s->letters->queues[one].weight, w1 = s->letters->queues[other].weight;
    SIM_CHECK(s,
              n[0] * w1 <= n[1] * w0 + TURNS_APART * (w0 + w1) &&
                  n[1] * w0 <= n[0] * w1 + TURNS_APART * (w0 + w1),
              "queues of weight %llu and %llu have %llu and %llu starts", (unsigned long long)w0,
              (unsigned long long)w1, (unsigned long long)n[0], (unsigned long long)n[1]);
}

void shares_start(struct sim *s, unsigned queue) {
    if (s->looking) {
        shares_restart(s);
        return;
    }
    for (unsigned lane = 0; lane < LANES; lane++)
        check_guarantee(s, lane, queue);
    check_pair(s, queue);
}
