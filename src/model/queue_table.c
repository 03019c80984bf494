/*
 * The table of queues, and the destinations that they push to by name.
 *
 * A queue names its destination; the destination may be defined later, deleted, defined again. The
 * target cell stands between: queues of one name hang on it, and it knows the index if there is one. So
 * defining a destination costs a look at its own queues, not at all.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/destination.h"
#include "model/exchange.h"
#include "model/lane.h"
#include "model/policy.h"
#include "model/queue_arguments.h"
#include "model/queue_tenant.h"
#include "model/session.h"
#include "model/session_state.h"

static bool id_matches(const void *owner, uint32_t slot, const void *key) {
    const struct queues *s = owner;
    return message_at(s, slot)->id == *(const uint64_t *)key;
}

static bool key_matches(const void *owner, uint32_t slot, const void *key) {
    const struct queues *s = owner;
    return key_at(s, slot)->hash == *(const uint64_t *)key;
}

static bool target_matches(const void *owner, uint32_t slot, const void *key) {
    const struct queues *s = owner;
    return span_is(*(const struct span *)key, target_at(s, slot)->name);
}

static uint64_t target_hash_of(const void *owner, uint32_t slot) {
    const struct queues *s = owner;
    return hash_bytes(s->hash, span_text(target_at(s, slot)->name));
}

/* Limits are checked by decide; a log written under higher ones must still be applied. */
static void queues_init_slabs(struct queues *s) {
    slab_init(&s->messages, sizeof(struct message), UINT32_MAX - 1);
    slab_init(&s->times, sizeof(struct message_times), TIMES_PLAIN - 1);
    slab_init(&s->ties, sizeof(struct message_tie), UINT32_MAX - 1);
    slab_init(&s->keys, sizeof(struct message_key), UINT32_MAX - 1);
    slab_init(&s->targets, sizeof(struct target), UINT32_MAX - 1);
    rolls_init(&s->delayed);
}

int queues_create(const struct model *m, struct queues **ret) {
    struct queues *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    s->hash = m->hash;
    queues_init_slabs(s);
    roster_init(&s->roster, m->hash);
    map_init(&s->by_id, s, id_matches);
    map_init(&s->by_key, s, key_matches);
    map_init(&s->by_target, s, target_matches);
    tenants_init(s);
    *ret = s;
    return 0;
}

/* ---- rules ---- */

static struct queue_rules rules_of(const struct queue_def *def) {
    return (struct queue_rules){.message_ttl_ns = def->message_ttl_ns,
                                .expires_ns = def->expires_ns,
                                .max_messages = def->max_messages,
                                .max_bytes = def->max_bytes,
                                .overflow = def->overflow,
                                .delivery_limit = def->delivery_limit,
                                .has_dead_letter_exchange = def->has_dead_letter_exchange,
                                .has_dead_letter_key = def->has_dead_letter_key,
                                .dead_letter_exchange = def->dead_letter_exchange,
                                .dead_letter_key = def->dead_letter_key};
}

static void set_rules(struct queue_def *def, const struct queue_rules *rules) {
    def->message_ttl_ns = rules->message_ttl_ns;
    def->expires_ns = rules->expires_ns;
    def->max_messages = rules->max_messages;
    def->max_bytes = rules->max_bytes;
    def->overflow = rules->overflow;
    def->delivery_limit = rules->delivery_limit;
    def->has_dead_letter_exchange = rules->has_dead_letter_exchange;
    def->has_dead_letter_key = rules->has_dead_letter_key;
    def->dead_letter_exchange = rules->dead_letter_exchange;
    def->dead_letter_key = rules->dead_letter_key;
}

struct queue_def queue_own_definition(const struct queue *q) {
    struct queue_def def = q->def;
    if (q->own != NULL) {
        set_rules(&def, q->own);
    }
    return def;
}

/* The definition is as declared again, and owns all its texts. */
static void take_own_back(struct queue *q) {
    if (q->own == NULL) {
        return;
    }
    set_rules(&q->def, q->own);
    free(q->own);
    q->own = NULL;
}

static int add_policies(const struct model *m, struct queue *q) {
    struct queue_rules own = rules_of(&q->def), rules = own;
    if (!policy_merge(m, q, &rules)) {
        return 0;
    }
    q->own = malloc(sizeof *q->own);
    if (q->own == NULL) {
        return E_NOMEM;
    }
    *q->own = own;
    set_rules(&q->def, &rules);
    return 0;
}

static void queue_free(struct queues *s, struct queue *q) {
    take_own_back(q);
    queue_def_release(&q->def);
    pace_release(&q->pace);
    tenant_release(s, q);
    free(q->ready.levels);
    free(q);
}

static void free_tenant(struct queues *s, uint32_t tenant) {
    if (tenant != 0) {
        free(tenant_at(s, tenant)->ready.levels);
        tenant_at(s, tenant)->ready.levels = NULL;
    }
}

/* Ties own text outside of their cells. A message that is gone has none, one that did not get into a list may. */
static void free_ties(struct queues *s) {
    for (uint32_t slot = 1; slot < s->messages.used_limit; slot++) {
        const struct message *g = message_at(s, slot);
        if (g->tie != 0) {
            free(tie_at(s, g->tie)->purchase);
            free(tie_at(s, g->tie)->origin);
            free_tenant(s, tie_at(s, g->tie)->tenant);
        }
    }
}

void queues_free(struct queues *s) {
    if (s == NULL) {
        return;
    }
    if (s->ties.live > 0) {
        free_ties(s);
    }
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        struct queue *q = queue_at(s, i);
        if (q->target != 0) {
            struct target *t = target_at(s, q->target);
            if (--t->refs == 0) {
                free(t->name);
            }
        }
        queue_free(s, q);
    }
    roster_release(&s->roster);
    map_release(&s->by_id);
    map_release(&s->by_key);
    map_release(&s->by_target);
    map_release(&s->by_tenant);
    slab_release(&s->tenants);
    slab_release(&s->messages);
    slab_release(&s->times);
    slab_release(&s->ties);
    slab_release(&s->keys);
    slab_release(&s->targets);
    rolls_release(&s->delayed);
    free(s->chunks);
    free(s);
}

/* ---- targets ---- */

static uint32_t target_find(const struct queues *s, struct span name) {
    return map_find(&s->by_target, hash_bytes(s->hash, name), &name);
}

static int target_make(struct model *m, struct span name, uint32_t *ret_slot) {
    struct queues *s = m->queues;
    uint32_t slot;
    int rc = slab_take(&s->targets, &slot);
    if (rc != 0) {
        return rc;
    }
    struct target *t = target_at(s, slot);
    list_init(&t->queues);
    rc = def_set_text(&t->name, name);
    if (rc == 0) {
        rc = map_insert(&s->by_target, hash_bytes(s->hash, name), slot);
    }
    if (rc != 0) {
        free(t->name);
        slab_give(&s->targets, slot);
        return rc;
    }
    t->destination = destination_find(m, name);
    *ret_slot = slot;
    return 0;
}

static void queue_unlink_target(struct model *m, struct queue *q) {
    struct queues *s = m->queues;
    if (q->target == 0) {
        return;
    }
    struct target *t = target_at(s, q->target);
    destination_queue_unlinked(m, t->destination, q->index);
    list_remove(&q->in_target);
    if (--t->refs == 0) {
        map_remove(&s->by_target, target_hash_of(s, q->target), q->target);
        free(t->name);
        slab_give(&s->targets, q->target);
    }
    q->target = 0;
    q->told_ready = false;
}

static int queue_link_target(struct model *m, struct queue *q) {
    struct queues *s = m->queues;
    struct span name = span_text(q->def.destination);
    if (name.size == 0) {
        return 0;
    }
    uint32_t slot = target_find(s, name);
    int rc = slot != 0 ? 0 : target_make(m, name, &slot);
    struct target *t = rc == 0 ? target_at(s, slot) : NULL;
    if (rc == 0) {
        rc = destination_reserve(m, t->destination, t->refs + 1);
    }
    if (rc == 0) {
        t->refs++;
        list_append(&t->queues, &q->in_target);
        q->target = slot;
    }
    return rc;
}

static bool queue_has_work(const struct queue *q) {
    return q->counts[MESSAGE_READY] > 0 && !q->def.paused;
}

static uint64_t at_most(uint64_t max) {
    return max == QUEUE_HOLDS_NOTHING ? 0 : max;
}

bool queue_is_too_long(const struct queue *q) {
    if (q->def.overflow != OVERFLOW_DROP_HEAD || q->counts[MESSAGE_READY] == 0) {
        return false;
    }
    uint64_t waiting = q->counts[MESSAGE_READY] + q->counts[MESSAGE_BLOCKED];
    return (q->def.max_messages != 0 && waiting > at_most(q->def.max_messages)) ||
           (q->def.max_bytes != 0 && q->ready_bytes > at_most(q->def.max_bytes));
}

/* An AMQP queue counts what is ready; another one all that is not dead. */
bool queue_has_room(const struct queue *q, uint64_t body_bytes) {
    return queue_has_room_for(q, 1, body_bytes);
}

bool queue_has_room_for(const struct queue *q, uint64_t messages, uint64_t body_bytes) {
    uint64_t waiting = q->counts[MESSAGE_READY] + q->counts[MESSAGE_BLOCKED];
    if (!q->def.amqp) {
        waiting += q->counts[MESSAGE_DELAYED] + q->counts[MESSAGE_IN_FLIGHT] +
                   q->counts[MESSAGE_CONFIRMING];
    }
    return (q->def.max_messages == 0 || waiting + messages <= at_most(q->def.max_messages)) &&
           queue_has_bytes_for(q, body_bytes);
}

bool queue_has_bytes_for(const struct queue *q, uint64_t body_bytes) {
    uint64_t bytes = q->def.amqp ? q->ready_bytes : q->bytes;
    uint64_t max_bytes = at_most(q->def.max_bytes);
    return q->def.max_bytes == 0 || (bytes <= max_bytes && body_bytes <= max_bytes - bytes);
}

static void note_length(struct model *m, struct queue *q) {
    bool trim = queue_is_too_long(q);
    if (trim && !list_linked(&q->trim)) {
        list_append(&m->sessions->trim, &q->trim);
    } else if (!trim && list_linked(&q->trim)) {
        list_remove(&q->trim);
    }
}

void queue_ready_changed(struct model *m, struct queue *q) {
    if (q->open.first != 0 || list_linked(&q->work)) {
        session_queue_changed(m, q);
    }
    if (q->def.overflow == OVERFLOW_DROP_HEAD) {
        note_length(m, q);
    }
    bool ready = queue_has_work(q);
    if (q->target == 0 || ready == q->told_ready) {
        return;
    }
    q->told_ready = ready;
    destination_queue_ready(m, target_at(m->queues, q->target)->destination, q->index, ready);
}

void queue_destination_changed(struct model *m, const char *name, uint32_t destination) {
    struct queues *s = m->queues;
    uint32_t slot = target_find(s, span_text(name));
    if (slot == 0) {
        return; /* a queue that names it later asks destination_find */
    }
    struct target *t = target_at(s, slot);
    t->destination = destination;
    for (struct list_node *n = list_first(&t->queues); n != NULL; n = list_next(&t->queues, n)) {
        struct queue *q = CONTAINER_OF(n, struct queue, in_target);
        q->told_ready = queue_has_work(q);
        destination_queue_ready(m, destination, q->index, q->told_ready);
    }
}

uint32_t queue_count_naming(const struct model *m, const char *destination) {
    uint32_t slot = target_find(m->queues, span_text(destination));
    return slot != 0 ? target_at(m->queues, slot)->refs : 0;
}

uint32_t queue_next_of_destination(const struct model *m, uint32_t destination, uint32_t after) {
    struct queues *s = m->queues;
    const struct queue *q = after == 0 ? NULL : queue_at(s, after);
    struct list_node *n = NULL;
    if (q != NULL && q->target != 0 && target_at(s, q->target)->destination == destination) {
        n = list_next(&target_at(s, q->target)->queues, &q->in_target);
    }
    if (n == NULL) {
        const struct destination_def *def = destination_definition(m, destination);
        uint32_t slot = def == NULL ? 0 : target_find(s, span_text(def->name));
        n = slot == 0 ? NULL : list_first(&target_at(s, slot)->queues);
    }
    return n == NULL ? 0 : CONTAINER_OF(n, struct queue, in_target)->index;
}

/* ---- queues ---- */

static int queue_make(struct model *m, uint32_t index, struct queue_def *def, struct queue **ret) {
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL) {
        queue_def_release(def);
        return E_NOMEM;
    }
    q->index = index;
    pace_init(&q->pace);
    q->def = *def;
    int rc = roster_put(&m->queues->roster, index, q, def->name);
    if (rc != 0) {
        queue_free(m->queues, q);
        return rc;
    }
    *ret = q;
    return 0;
}

/* The name stays where it is: the roster borrows it. */
static int queue_replace_def(struct queue *q, struct queue_def *def) {
    if (strcmp(q->def.name, def->name) != 0) {
        queue_def_release(def);
        return E_CORRUPT;
    }
    free(def->name);
    def->name = q->def.name;
    q->def.name = NULL;
    queue_def_release(&q->def);
    q->def = *def;
    return 0;
}

static bool storable_name(const struct queue_def *def) {
    size_t size = strlen(def->name);
    return def->amqp ? size >= 1 && size <= QUEUE_NAME_MAX_BYTES : name_valid(span_text(def->name));
}

static bool storable_weights(const struct queue_def *def) {
    bool valid = true;
    for (uint32_t i = 0; i < def->tenant_weights.count; i++) {
        uint32_t weight = def->tenant_weights.items[i].weight;
        valid = valid && weight >= 1 && weight <= TENANT_WEIGHT_MAX;
    }
    return valid;
}

int queue_put(struct model *m, uint32_t index, struct queue_def *def, uint64_t file_hash,
              struct queue **ret) {
    bool lane_valid = def->weight >= 1 && def->weight <= LANE_WEIGHT_MAX;
    if (!storable_name(def) || !storable_weights(def) || !pace_def_valid(&def->pace) ||
        !lane_valid || def->guaranteed_percent > 100 ||
        def->retry.backoffs.count > RETRY_BACKOFFS_MAX) {
        queue_def_release(def);
        return E_CORRUPT; /* decide would have refused it */
    }
    struct queues *s = m->queues;
    struct queue *q = queue_at(s, index);
    int rc;
    if (q == NULL) {
        rc = queue_make(m, index, def, &q);
    } else {
        queue_unlink_target(m, q);
        take_own_back(q);
        s->transient -= !q->def.durable;
        rc = queue_replace_def(q, def);
    }
    if (rc != 0) {
        return rc;
    }
    s->transient += !q->def.durable;
    q->file_hash = file_hash;
    *ret = q;
    rc = pace_define(&q->pace, &q->def.pace);
    rc = rc != 0 ? rc : tenant_define(m, q);
    if (rc == 0) {
        rc = queue_link_target(m, q);
    }
    rc = rc != 0 ? rc : add_policies(m, q);
    if (m->section_version == 0) {
        queue_use_changed(m, q);
    }
    queue_ready_changed(m, q);
    return rc;
}

int queue_policies_changed(struct model *m, struct queue *q) {
    take_own_back(q);
    int rc = add_policies(m, q);
    queue_use_changed(m, q);
    note_length(m, q);
    queue_ready_changed(m, q);
    return rc;
}

void queue_drop(struct model *m, struct queue *q) {
    queue_unlink_target(m, q);
    session_queue_gone(m, q);
    exchange_queue_gone(m, q);
    timer_clear(m, TIMER_QUEUE, q->index, &q->expiry_ns);
    m->queues->transient -= !q->def.durable;
    roster_remove(&m->queues->roster, q->index);
    queue_free(m->queues, q);
}

uint32_t queue_find(const struct model *m, struct span name) {
    return roster_find(&m->queues->roster, name);
}

const struct queue_def *queue_definition(const struct model *m, uint32_t queue) {
    const struct queue *q = queue_at(m->queues, queue);
    return q == NULL ? NULL : &q->def;
}

struct pace *queue_pace(struct model *m, uint32_t queue) {
    struct queue *q = queue_at(m->queues, queue);
    return q == NULL ? NULL : &q->pace;
}

bool queue_is_all_there_is(const struct model *m, uint32_t queue) {
    const struct queue *q = queue_at(m->queues, queue);
    if (q == NULL || q->target == 0 || target_at(m->queues, q->target)->refs != 1 ||
        q->fair != NULL || q->ready.levels == NULL) {
        return false;
    }
    const uint64_t *bits = q->ready.levels->bits;
    int levels = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(q->ready.levels->bits); i++) {
        levels += __builtin_popcountll(bits[i]);
    }
    return levels <= 1;
}

bool queue_has_blocked(const struct model *m, uint32_t queue) {
    const struct queue *q = queue_at(m->queues, queue);
    return q != NULL && q->counts[MESSAGE_BLOCKED] > 0;
}

const struct pace *queue_pace_view(const struct model *m, uint32_t queue) {
    const struct queue *q = queue_at(m->queues, queue);
    return q == NULL ? NULL : &q->pace;
}

uint64_t queue_reusable_bytes(const struct model *m) {
    const struct queues *s = m->queues;
    return slab_reusable_bytes(&s->messages) + slab_reusable_bytes(&s->times) +
           slab_reusable_bytes(&s->ties) + slab_reusable_bytes(&s->keys) +
           rolls_reusable_bytes(&s->delayed);
}
