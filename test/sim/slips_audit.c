/* Asks for everything that is at the desks, and compares. */
#include <string.h>

#include "chores.h"
#include "clients.h"
#include "slips.h"

#define STATES      6u
#define LISTS       (SLIP_QUESTIONS / DESKS)
#define BODY_SAMPLE 6u
#define LATE_NS     (2 * NS_PER_SECOND)

_Static_assert(LISTS == STATES + 2, "with the queue itself, and its jobs");
static const uint8_t states[STATES] = {MESSAGE_READY,     MESSAGE_BLOCKED,    MESSAGE_DELAYED,
                                       MESSAGE_IN_FLIGHT, MESSAGE_CONFIRMING, MESSAGE_DEAD};

static uint32_t read_slip(struct sim *s, const struct message_info *info) {
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    int error = engine_read_message(s->engine, info->id, info->address, &bytes, &stored);
    SIM_CHECK(s, error == 0, "slip %llx cannot be read: %s", (unsigned long long)info->id,
              error_name(error));
    uint32_t tag = slip_of_body(s, stored.envelope.body);
    buffer_release(&bytes);
    if (slip_at(s, tag)->id == 0) {
        SIM_CHECK(s, slip_at(s, tag)->asked, "slip %u is there; nobody waits for its answer", tag);
        slip_at(s, tag)->asked = false;
        slip_accepted(s, tag, info->id, stored.accepted_ns);
    }
    SIM_CHECK(s, slip_at(s, tag)->id == info->id, "slip %u is there under two ids", tag);
    return tag;
}

/* T2, whole: length and priority are of the version that it has. */
static uint32_t slip_behind(struct sim *s, const struct message_info *info) {
    uint32_t tag = slip_find(s, info->id);
    struct slip *l = slip_at(s, tag);
    bool sample = info->id / 64 % BODY_SAMPLE == s->slips->audit % BODY_SAMPLE;
    if (tag == 0 || sample || (l->versions & (l->versions - 1)) != 0)
        tag = read_slip(s, info);
    l = slip_at(s, tag);
    unsigned version = (unsigned)__builtin_ctzll(l->versions);
    SIM_CHECK(
        s, info->body_bytes == slip_bytes(tag, version) && info->priority == slip_priority(version),
        "slip %u of version %u has %u bytes and priority %u", tag, version, info->body_bytes,
        info->priority);
    l->last_version = (uint8_t)version;
    return tag;
}

static void look_at_confirming(struct sim *s, uint32_t tag, const struct message_info *info) {
    struct slip *l = slip_at(s, tag);
    if (info->state != MESSAGE_CONFIRMING) {
        SIM_CHECK(s, !l->confirming || sim_engine_ns(s) >= l->confirm_from_ns || l->stranded,
                  "slip %u is %s and should wait for its confirmation", tag,
                  message_state_name(info->state));
        l->confirming = false;
        return;
    }
    uint64_t now_ns = sim_engine_ns(s);
    if (!l->confirming) { /* its attempt ended, and nobody had the answer */
        l->confirming = true;
        l->confirm_from_ns = 0;
        l->confirm_until_ns = now_ns + s->slips->confirm_ns;
    }
    /* What was overdue in the turn before was to be decided then, if turns have as many timers as are due; after a start there was none. */
    SIM_CHECK(s,
              s->tight || s->looking || s->options.timers_a_turn != 0 ||
                  s->turn_engine_ns < l->confirm_until_ns + LATE_NS,
              "slip %u waits for its confirmation beyond its deadline", tag);
}

static void look_at_slip(struct sim *s, const struct message_info *info, unsigned desk) {
    uint32_t tag = slip_behind(s, info);
    struct slip *l = slip_at(s, tag);
    unsigned now = info->state == MESSAGE_DEAD ? SLIP_DEAD(desk) : SLIP_WAITS(desk);
    bool flies = info->state == MESSAGE_IN_FLIGHT;
    l->stranded = flies && l->under_way == 0 && s->engine->recovering;
    unsigned may = slip_may(s, tag) | (l->stranded ? SLIP_WAITS(desk) : 0);
    SIM_CHECK(s, l->audit != s->slips->audit, "slip %u is there twice", tag);
    SIM_CHECK(s, may & now, "slip %u is %s at %s; it may be %x by the answers", tag,
              message_state_name(info->state), s->slips->desks[desk].name, may);
    SIM_CHECK(s, l->stranded || flies == (l->under_way != 0),
              "slip %u is %s; attempt %u is under way", tag, message_state_name(info->state),
              l->under_way);
    bool anew = l->anew || chores_may_renew(s, tag);
    SIM_CHECK(s,
              anew || now == SLIP_DEAD(desk) ||
                  (info->attempts >= l->attempts && info->attempts <= l->attempts + 1),
              "slip %u had %u attempts, %u are known", tag, info->attempts, l->attempts);
    l->attempts = info->attempts;
    l->anew = false;
    l->audit = s->slips->audit;
    look_at_confirming(s, tag, info);
    if (l->under_way == 0 && !l->stranded)
        l->told = l->may_tell = 0;
    /* One whose attempt could not be ended yet at the start will be what was told of it. */
    slip_set(s, tag, now | (l->stranded ? slip_may_be_told(s, tag) : 0));
    if (info->state == MESSAGE_READY && l->ready == 0)
        l->ready = s->slips->asked;
    l->seen = (struct message_seen){info->address, info->attempts, info->state};
    l->seen_versions = l->versions;
}

/* T1 */
static void look_for_missing(struct sim *s) {
    for (uint32_t tag = 1; tag < s->slips->count; tag++) {
        struct slip *l = slip_at(s, tag);
        if (l->audit == s->slips->audit)
            continue;
        if (l->id != 0) {
            SIM_CHECK(s, slip_may(s, tag) & SLIP_GONE,
                      "slip %u was accepted (%llx) and is nowhere; it may be %x", tag,
                      (unsigned long long)l->id, slip_may(s, tag));
            if (l->may != SLIP_GONE)
                slip_set(s, tag, SLIP_GONE);
        } else if (l->asked) {
            l->asked = false;
            l->refused = !chores_work_at(s, l->desk); /* which may have taken it */
        }
    }
}

static void look_at_desk(struct sim *s, struct call *const *calls, unsigned desk) {
    const struct request *get = &calls[0]->q.r;
    const char *name = s->slips->desks[desk].name;
    SIM_CHECK(s, get->refusal == REFUSAL_NONE, "%s is lost", name);
    const struct queue_info *info = &get->out.queue;
    const uint64_t counts[STATES] = {info->ready,     info->blocked,    info->delayed,
                                     info->in_flight, info->confirming, info->dead};
    for (unsigned i = 0; i < STATES; i++) {
        const struct request *list = &calls[1 + i]->q.r;
        SIM_CHECK(s, list->refusal == REFUSAL_NONE && list->count == counts[i],
                  "%s counts %llu and lists %llu", name, (unsigned long long)counts[i],
                  (unsigned long long)list->count);
        for (uint64_t n = 0; n < list->count; n++) {
            struct message_info message;
            memcpy(&message, list->out_bytes.data + n * sizeof(message), sizeof(message));
            look_at_slip(s, &message, desk);
        }
    }
}

void slips_look(struct sim *s, struct call *const *calls) {
    s->slips->audit++;
    for (unsigned d = 0; d < DESKS; d++)
        look_at_desk(s, calls + d * LISTS, d);
    look_for_missing(s);
    for (unsigned d = 0; d < DESKS; d++)
        chores_audit(s, &calls[d * LISTS + LISTS - 1]->q.r);
    chores_audit_end(s);
}

void slips_ask(struct sim *s, struct call *ret_calls[SLIP_QUESTIONS]) {
    for (unsigned d = 0; d < DESKS; d++)
        for (unsigned i = 0; i < LISTS; i++) {
            enum request_kind kind = i == 0           ? REQUEST_QUEUE_GET
                                     : i == LISTS - 1 ? REQUEST_JOB_LIST
                                                      : REQUEST_QUEUE_MESSAGES;
            struct call *c = ret_calls[d * LISTS + i] = call_take(s, kind);
            c->q.r.name = span_text(s->slips->desks[d].name);
            c->q.r.in.list.max = LIST_MAX;
            if (kind == REQUEST_QUEUE_MESSAGES)
                c->q.r.in.list.state = (enum message_state)states[i - 1];
        }
}
