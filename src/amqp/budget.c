#include "amqp/budget.h"

#include <assert.h>
#include <stddef.h>

void amqp_budget_init(struct amqp_budget *b, uint64_t max_bytes,
                      void (*go_on)(struct amqp_holder *h)) {
    *b = (struct amqp_budget){.max_bytes = max_bytes, .go_on = go_on};
    list_init(&b->line);
}

static bool fits(const struct amqp_budget *b, uint64_t bytes) {
    uint64_t used_bytes = b->held_bytes + b->leaving_bytes;
    return used_bytes <= b->max_bytes && bytes <= b->max_bytes - used_bytes;
}

static uint64_t give_up_grant(struct amqp_budget *b, struct amqp_holder *h) {
    uint64_t granted_bytes = h->granted_bytes;
    amqp_budget_give(b, granted_bytes);
    h->granted_bytes = 0;
    return granted_bytes;
}

bool amqp_budget_take(struct amqp_budget *b, struct amqp_holder *h, uint64_t bytes) {
    assert(!amqp_budget_waits(h));
    bool its_turn = give_up_grant(b, h) > 0;
    if (h == b->favoured || (fits(b, bytes) && (its_turn || list_empty(&b->line)))) {
        b->held_bytes += bytes;
        return true;
    }
    h->wanted_bytes = bytes;
    if (its_turn)
        list_prepend(&b->line, &h->node);
    else
        list_append(&b->line, &h->node);
    return false;
}

void amqp_budget_add(struct amqp_budget *b, uint64_t bytes) {
    b->held_bytes += bytes;
}

void amqp_budget_give(struct amqp_budget *b, uint64_t bytes) {
    assert(bytes <= b->held_bytes);
    b->held_bytes -= bytes;
}

void amqp_budget_leaves(struct amqp_budget *b, uint64_t bytes) {
    b->leaving_bytes += bytes;
}

void amqp_budget_left(struct amqp_budget *b, uint64_t bytes) {
    assert(bytes <= b->leaving_bytes);
    b->leaving_bytes -= bytes;
}

/* With all of it inside of max_bytes the others need not wait for the rest. */
void amqp_budget_progress(struct amqp_budget *b, struct amqp_holder *h, uint64_t held_bytes) {
    give_up_grant(b, h);
    if (h == b->favoured && (held_bytes == 0 || fits(b, 0)))
        b->favoured = NULL;
}

void amqp_budget_forget(struct amqp_budget *b, struct amqp_holder *h) {
    if (amqp_budget_waits(h))
        list_remove(&h->node);
    give_up_grant(b, h);
    if (h == b->favoured)
        b->favoured = NULL;
}

bool amqp_budget_waits(const struct amqp_holder *h) {
    return list_linked(&h->node);
}

bool amqp_budget_short(const struct amqp_budget *b) {
    return !list_empty(&b->line);
}

void amqp_budget_serve(struct amqp_budget *b) {
    for (struct list_node *n; (n = list_first(&b->line)) != NULL;) {
        struct amqp_holder *h = CONTAINER_OF(n, struct amqp_holder, node);
        if (fits(b, h->wanted_bytes))
            b->held_bytes += h->granted_bytes = h->wanted_bytes;
        else if (b->favoured == NULL && (fits(b, 0) || b->leaving_bytes == 0))
            b->favoured = h;
        else
            return;
        list_remove(n);
        b->go_on(h);
    }
}
