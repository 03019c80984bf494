#include "parcels.h"

#include <string.h>

#include "model/queue.h"
#include "model/queue_state.h"
#include "model/session_state.h"
#include "model/state.h"

#define HIDDEN_DELIVERIES                                                                          \
    2u                    /* that nobody was told of, because their session or the process ended */
#define SURE_OF_BODIES 8u /* one of so many is read although its id is known */

static const struct box_facts boxes[BOXES] = {
    [BOX_PLAIN] = {.name = "box-plain", .delivery_limit = 3, .dead = BOX_DEAD_PLAIN},
    [BOX_KEYED] = {.name = "box-keyed", .dead = -1},
    [BOX_SINGLE] = {.name = "box-single", .dead = -1},
    [BOX_BRIEF] = {.name = "box-brief", .dead = BOX_DEAD_BRIEF},
    [BOX_DEAD_PLAIN] = {.name = "box-dead-plain", .dead = -1},
    [BOX_DEAD_BRIEF] = {.name = "box-dead-brief", .dead = -1},
};

static struct copy *copy_at(const struct sim *s, uint32_t tag, unsigned box) {
    return &parcel_at(s, tag)->copies[box];
}

/* A value of the map: which copy of which parcel. */
static uint32_t slot_of(uint32_t tag, unsigned box) {
    return tag * BOXES_FOR_ROUTES + box;
}

static bool matches_id(const void *owner, uint32_t slot, const void *id) {
    const struct parcels *p = owner;
    return p->items[slot / BOXES_FOR_ROUTES].copies[slot % BOXES_FOR_ROUTES].id ==
           *(const uint64_t *)id;
}

struct parcels *parcels_create(struct sim *s) {
    struct parcels *p = sim_alloc(sizeof(*p));
    map_init(&p->by_id, p, matches_id);
    p->count = p->first = p->life = 1;
    memcpy(p->boxes, boxes, sizeof(boxes));
    uint64_t draw = sim_draw(s, 'b', 0);
    p->boxes[BOX_PLAIN].delivery_limit = 1 + (uint32_t)(draw % 4);
    p->boxes[BOX_SINGLE].max_messages = rule_of(10 + (draw >> 8) % 200);
    p->boxes[BOX_BRIEF].ttl_ns = (20 + (draw >> 20) % 1000) * NS_PER_MS;
    return p;
}

void parcels_free(struct parcels *p) {
    for (unsigned k = 0; k < PARCEL_KEYS; k++)
        free(p->keys[k].tags);
    map_release(&p->by_id);
    free(p->items);
    free(p);
}

/* ---- bodies ---- */

void parcel_fill(uint32_t tag, uint32_t size, uint8_t *out) {
    uint64_t words[2] = {UINT64_C(0x5041524300000000) | tag,
                         (tag + 7) * UINT64_C(0x9e3779b97f4a7c15)};
    for (uint32_t at = 0; at < size; at += 8)
        memcpy(out + at, &words[at != 0], size - at < 8 ? size - at : 8);
}

uint32_t parcel_of_body(const struct sim *s, struct span body) {
    uint8_t expected[PARCEL_BYTES_MAX];
    uint32_t tag = 0;
    if (body.size >= 8)
        memcpy(&tag, body.data, sizeof(tag));
    SIM_CHECK(s, tag > 0 && tag < s->parcels->count, "a body that nobody published (%zu bytes)",
              body.size);
    uint32_t size = parcel_at(s, tag)->size;
    parcel_fill(tag, size, expected);
    SIM_CHECK(s, span_equal(body, span_of(expected, size)),
              "the body of parcel %u is not as it was published", tag);
    return tag;
}

/* ---- the set ---- */

static void join_key(struct parcels *p, uint32_t tag, uint8_t key) {
    if (p->keys[key].count == p->keys[key].capacity) {
        p->keys[key].capacity = p->keys[key].capacity == 0 ? 64 : p->keys[key].capacity * 2;
        p->keys[key].tags =
            realloc(p->keys[key].tags, p->keys[key].capacity * sizeof(*p->keys[key].tags));
        assert(p->keys[key].tags != NULL);
    }
    p->keys[key].tags[p->keys[key].count++] = tag;
}

uint32_t parcel_make(struct sim *s, uint8_t to, uint8_t key, uint32_t size) {
    struct parcels *p = s->parcels;
    if (p->count >= p->capacity) {
        p->capacity = p->capacity == 0 ? 1024 : p->capacity * 2;
        p->items = realloc(p->items, p->capacity * sizeof(*p->items));
        assert(p->items != NULL);
    }
    uint32_t tag = p->count++;
    p->items[tag] = (struct parcel){
        .asked_ns = sim_engine_ns(s), .size = size, .boxes = to, .key = key, .asked = true};
    for (unsigned b = 0; b < BOXES_FOR_ROUTES; b++)
        p->items[tag].copies[b] = (struct copy){
            .may = to >> b & 1 ? COPY_NONE | COPY_IN : COPY_NONE, .holder = NO_HOLDER};
    if (to >> BOX_KEYED & 1)
        join_key(p, tag, key);
    return tag;
}

unsigned copy_may(const struct sim *s, uint32_t tag, unsigned box) {
    const struct parcel *p = parcel_at(s, tag);
    unsigned may = p->copies[box].may;
    uint64_t ttl_ns = s->parcels->boxes[box].ttl_ns;
    if ((may & COPY_IN) && ttl_ns != 0 && p->asked_ns + ttl_ns <= sim_engine_ns(s))
        may |= COPY_DEAD;
    uint32_t limit = s->parcels->boxes[box].delivery_limit;
    if ((may & COPY_IN) && limit != 0 && p->copies[box].deliveries + HIDDEN_DELIVERIES > limit)
        may |= COPY_DEAD;
    return may;
}

void parcel_confirmed(struct sim *s, uint32_t tag) {
    struct parcel *p = parcel_at(s, tag);
    if (!p->asked)
        return;
    p->asked = false;
    for (unsigned b = 0; b < BOXES_FOR_ROUTES; b++)
        p->copies[b].may &= p->boxes >> b & 1 ? (uint8_t)~COPY_NONE : COPY_NONE;
}

void parcel_refused_by(struct sim *s, uint32_t tag, unsigned box) {
    struct copy *c = copy_at(s, tag, box);
    SIM_CHECK(s, c->id == 0 && (c->may & COPY_NONE), "parcel %u was refused by %s and is there",
              tag, s->parcels->boxes[box].name);
    c->may = COPY_NONE;
    parcel_at(s, tag)->boxes &= (uint8_t) ~(1u << box);
}

void parcel_refused(struct sim *s, uint32_t tag) {
    for (unsigned b = 0; b < BOXES_FOR_ROUTES; b++)
        parcel_refused_by(s, tag, b);
    parcel_at(s, tag)->asked = false;
}

uint32_t parcels_in_box(const struct sim *s, unsigned box) {
    uint32_t count = 0;
    for (uint32_t tag = s->parcels->first; tag < s->parcels->count; tag++)
        count += (copy_at(s, tag, box)->may & COPY_IN) != 0;
    return count;
}

/* ---- which one it is ---- */

static uint32_t read_tag(struct sim *s, uint64_t stored_id, uint64_t address) {
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    int error = engine_read_message(s->engine, stored_id, address, &bytes, &stored);
    SIM_CHECK(s, error == 0 || s->errors > 0 || sim_disk_crashed(s->disk),
              "the body of %llx cannot be read: %s", (unsigned long long)stored_id,
              error_name(error));
    uint32_t tag = error == 0 ? parcel_of_body(s, stored.envelope.body) : 0;
    buffer_release(&bytes);
    return tag;
}

/* Of the boxes that dead letters come from. */
static unsigned box_of_place(unsigned place) {
    return place == BOX_DEAD_PLAIN ? BOX_PLAIN : place == BOX_DEAD_BRIEF ? BOX_BRIEF : place;
}

/* A part of it was seen, so all of it happened; only a box with a limit may have refused. */
static void note_published(struct sim *s, uint32_t tag) {
    uint32_t both[] = {tag, parcel_at(s, tag)->partner};
    for (unsigned i = 0; i < 2 && both[i] != 0; i++)
        for (unsigned b = 0; b < BOXES_FOR_ROUTES; b++)
            if ((parcel_at(s, both[i])->boxes >> b & 1) &&
                rule_most(&s->parcels->boxes[b].max_messages) == 0)
                copy_at(s, both[i], b)->may &= (uint8_t)~COPY_NONE;
}

/* It is there: so all of the publish happened (P3). */
static void note_there(struct sim *s, uint32_t tag, unsigned box, unsigned place, uint64_t id) {
    struct copy *c = copy_at(s, tag, box);
    unsigned now = place == box ? COPY_IN : COPY_DEAD;
    SIM_CHECK(s, parcel_at(s, tag)->boxes >> box & 1, "parcel %u is in %s, where it never went",
              tag, s->parcels->boxes[place].name);
    SIM_CHECK(s, copy_may(s, tag, box) & now, "parcel %u is in %s; it may be %u by the answers",
              tag, s->parcels->boxes[place].name, copy_may(s, tag, box));
    SIM_CHECK(s, c->id == 0 || c->place != place || c->id == id, "parcel %u is twice in %s", tag,
              s->parcels->boxes[place].name);
    if (c->id != id) {
        if (c->id != 0)
            map_remove(&s->parcels->by_id, hash_u64(c->id), slot_of(tag, box));
        c->id = id;
        c->deliveries = c->acked_life = 0;
        int error = map_insert(&s->parcels->by_id, hash_u64(id), slot_of(tag, box));
        assert(error == 0);
    }
    if (parcel_at(s, tag)->asked)
        note_published(s, tag);
    c->place = (uint8_t)place;
    c->may = (uint8_t)now;
}

uint32_t parcel_find(struct sim *s, uint64_t id, uint64_t stored_id, uint64_t address,
                     unsigned place, unsigned *ret_box) {
    uint32_t slot = map_find(&s->parcels->by_id, hash_u64(id), &id);
    *ret_box = box_of_place(place);
    if (slot != 0)
        SIM_CHECK(s, slot % BOXES_FOR_ROUTES == *ret_box, "%llx is in another box",
                  (unsigned long long)id);
    if (slot != 0 && id / 64 % SURE_OF_BODIES != 0)
        return slot / BOXES_FOR_ROUTES;
    uint32_t tag = read_tag(s, stored_id, address);
    SIM_CHECK(s, slot == 0 || tag == 0 || tag == slot / BOXES_FOR_ROUTES,
              "%llx has the body of another", (unsigned long long)id);
    return slot != 0 ? slot / BOXES_FOR_ROUTES : tag;
}

/* ---- deliveries ---- */

/* P6 */
static void check_key(struct sim *s, uint32_t tag) {
    uint8_t key = parcel_at(s, tag)->key;
    struct parcels *p = s->parcels;
    uint32_t out = p->keys[key].out;
    SIM_CHECK(s, out == 0 || out == tag, "parcels %u and %u of one ordering key are out at once",
              tag, out);
    uint32_t *tags = p->keys[key].tags, i = p->keys[key].first;
    while (i < p->keys[key].count && !(copy_at(s, tags[i], BOX_KEYED)->may & COPY_IN) &&
           !parcel_at(s, tags[i])->asked)
        i++;
    p->keys[key].first = i;
    for (; i < p->keys[key].count && tags[i] < tag; i++)
        SIM_CHECK(s, copy_at(s, tags[i], BOX_KEYED)->may != COPY_IN,
                  "parcel %u is delivered before parcel %u of its ordering key", tag, tags[i]);
    p->keys[key].out = tag;
}

/* P4: it says where it died. */
static void check_origin(struct sim *s, uint32_t tag, unsigned box, const struct delivery *d) {
    struct amqp_origin origin;
    struct amqp_death death;
    bool read = d->origin_size > 0 &&
                amqp_origin_read(span_of(d->origin, d->origin_size), &origin) == 0 &&
                amqp_origin_next(&origin.deaths, &death);
    SIM_CHECK(s, read && span_is(death.queue, s->parcels->boxes[box].name) && death.count == 1,
              "parcel %u is a dead letter and does not say where it died", tag);
}

void copy_delivered(struct sim *s, uint32_t tag, unsigned box, unsigned place,
                    const struct delivery *d) {
    struct copy *c = copy_at(s, tag, box);
    SIM_CHECK(s, c->acked_life != s->parcels->life || c->place != place,
              "parcel %u comes again after it was settled for good", tag);
    SIM_CHECK(s, c->holder == NO_HOLDER || c->place != place, "parcel %u is delivered twice", tag);
    note_there(s, tag, box, place, d->message);
    SIM_CHECK(s, d->delivery_count >= c->deliveries, "parcel %u had %u deliveries, and now %u", tag,
              c->deliveries, d->delivery_count);
    SIM_CHECK(s, d->redelivered == (d->delivery_count > 0), "parcel %u: redelivered is wrong", tag);
    uint32_t limit = s->parcels->boxes[place].delivery_limit;
    SIM_CHECK(s, limit == 0 || d->delivery_count <= limit, "parcel %u comes for the %uth time", tag,
              d->delivery_count + 1);
    SIM_CHECK(s, d->body_bytes == parcel_at(s, tag)->size, "parcel %u has another size", tag);
    if (place == BOX_KEYED)
        check_key(s, tag);
    if (place != box)
        check_origin(s, tag, box, d);
    c->deliveries = d->delivery_count + 1;
    c->serial++;
    c->acked_life = 0;
}

void copy_let_go(struct sim *s, uint32_t tag, unsigned box) {
    struct copy *c = copy_at(s, tag, box);
    const struct box_facts *at = &s->parcels->boxes[c->place];
    c->holder = NO_HOLDER;
    if (c->may == COPY_IN && at->delivery_limit != 0 && c->deliveries > at->delivery_limit)
        c->may |= COPY_DEAD;
    if (c->place == BOX_KEYED && s->parcels->keys[parcel_at(s, tag)->key].out == tag)
        s->parcels->keys[parcel_at(s, tag)->key].out = 0;
}

static unsigned verdict_makes(const struct sim *s, const struct copy *c,
                              enum settle_verdict verdict) {
    const struct box_facts *at = &s->parcels->boxes[c->place];
    bool dead = c->place >= BOXES_FOR_ROUTES; /* a dead letter's place is one of its own */
    unsigned here = dead ? COPY_DEAD : COPY_IN;
    unsigned death = at->dead >= 0 ? COPY_DEAD : COPY_GONE;
    if (verdict == SETTLE_ACK)
        return COPY_GONE;
    if (verdict == SETTLE_REJECT)
        return death;
    bool over = at->delivery_limit != 0 && c->deliveries > at->delivery_limit;
    return verdict == SETTLE_REQUEUE && over ? death : here;
}

void copy_settling(struct sim *s, uint32_t tag, unsigned box, enum settle_verdict verdict) {
    struct copy *c = copy_at(s, tag, box);
    unsigned makes = verdict_makes(s, c, verdict);
    c->may |= (uint8_t)makes;
    if (verdict == SETTLE_ACK || verdict == SETTLE_REJECT)
        c->acked_life = s->parcels->life;
    if (verdict == SETTLE_RETURN)
        c->deliveries--;
    copy_let_go(s, tag, box);
}

void copy_settled(struct sim *s, uint32_t tag, unsigned box, uint32_t serial,
                  enum settle_verdict verdict) {
    struct copy *c = copy_at(s, tag, box);
    if (c->serial != serial)
        return; /* it came again meanwhile */
    if (verdict == SETTLE_REQUEUE || verdict == SETTLE_RETURN)
        return; /* the set says already what it may be */
    c->may = (uint8_t)verdict_makes(s, c, verdict);
}

/* ---- the audit ---- */

void parcels_audit_begin(struct sim *s) {
    s->parcels->audit++;
}

void parcel_seen(struct sim *s, const struct message_info *info, unsigned place) {
    unsigned box;
    const struct queues *queues = s->engine->model->queues;
    uint32_t slot = message_find(queues, info->id);
    bool brief = s->parcels->boxes[place].ttl_ns != 0; /* it may have expired since */
    SIM_CHECK(s, slot != 0 || brief, "%s lists what is not there", s->parcels->boxes[place].name);
    uint64_t stored_id = slot != 0 ? message_stored_id(queues, message_at(queues, slot)) : info->id;
    uint32_t tag = parcel_find(s, info->id, stored_id, info->address, place, &box);
    if (tag == 0)
        return;
    struct copy *c = copy_at(s, tag, box);
    bool moved = place != box && s->parcels->boxes[box].ttl_ns != 0; /* between the two lists */
    SIM_CHECK(s, c->audit != s->parcels->audit || moved, "parcel %u of %s is in two places", tag,
              s->parcels->boxes[box].name);
    bool held = c->holder != NO_HOLDER && c->place == place;
    SIM_CHECK(s, !held || info->state == MESSAGE_IN_FLIGHT, "parcel %u is held, and is %s", tag,
              message_state_name(info->state));
    SIM_CHECK(s, info->state != MESSAGE_IN_FLIGHT || !s->looking || s->engine->recovering,
              "parcel %u is in flight after a restart", tag);
    if (c->id == info->id)
        SIM_CHECK(s, info->attempts >= c->deliveries, "parcel %u had %u deliveries, and now %u",
                  tag, c->deliveries, info->attempts);
    note_there(s, tag, box, place, info->id);
    c->audit = s->parcels->audit;
}

/* What consumers hold is in no list of the API: those that were ready when the lists were made are known already. */
void parcels_see_held(struct sim *s, unsigned place) {
    const struct model *m = s->engine->model;
    const struct queue *q =
        queue_at(m->queues, queue_find(m, span_text(s->parcels->boxes[place].name)));
    for (uint32_t c = q->holders.first; c != 0; c = consumer_at(m->sessions, c)->of_queue.next) {
        uint32_t slot = consumer_at(m->sessions, c)->held.first;
        for (; slot != 0; slot = message_at(m->queues, slot)->next) {
            struct message_info info;
            message_describe(m, message_at(m->queues, slot), &info);
            uint32_t known = map_find(&s->parcels->by_id, hash_u64(info.id), &info.id);
            if (known == 0 ||
                copy_at(s, known / BOXES_FOR_ROUTES, known % BOXES_FOR_ROUTES)->audit !=
                    s->parcels->audit)
                parcel_seen(s, &info, place);
        }
    }
}

/* P1 and P3: what is not there may be gone, or was never there. */
static void end_one(struct sim *s, uint32_t tag) {
    struct parcel *p = parcel_at(s, tag);
    for (unsigned b = 0; b < BOXES_FOR_ROUTES; b++) {
        struct copy *c = &p->copies[b];
        if (!(p->boxes >> b & 1) || c->audit == s->parcels->audit)
            continue;
        unsigned may = copy_may(s, tag, b) & (COPY_NONE | COPY_GONE);
        SIM_CHECK(s, may != 0, "parcel %u was confirmed, and is not in %s any more (%u)", tag,
                  s->parcels->boxes[b].name, copy_may(s, tag, b));
        c->may = COPY_GONE;
    }
    p->asked = false;
}

void parcels_audit_end(struct sim *s) {
    struct parcels *p = s->parcels;
    for (uint32_t tag = p->first; tag < p->count; tag++)
        end_one(s, tag);
    (void)parcels_all_gone(s);
}

bool parcels_all_gone(const struct sim *s) {
    struct parcels *p = s->parcels;
    for (; p->first < p->count; p->first++)
        for (unsigned b = 0; b < BOXES_FOR_ROUTES; b++)
            if (p->items[p->first].asked || (copy_may(s, p->first, b) & (COPY_IN | COPY_DEAD)) != 0)
                return false;
    return true;
}
