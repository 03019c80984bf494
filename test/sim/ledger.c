#include "ledger.h"

#include <fcntl.h>
#include <string.h>

#include "model/audit.h"

#define FILE_PATH      SIM_DIRECTORY "/audit/audit.log"
#define FILE_MAX_BYTES (16u << 20)
#define ACTOR          "\"actor\":\"sim-"
#define OF_A_JOB       "\"address\":\"job\""
#define SIGNED_ONE_IN  2u

/* What an action's entry must be. */
enum duty { DUTY_MAY, DUTY_MUST, DUTY_NONE };

struct act {
    uint8_t duty;
    uint64_t entry; /* number of the one that was seen; 0: none was */
    uint64_t end;   /* the same, of the end of a job that it started */
    char reason[24];
};

struct ledger {
    struct act *acts; /* owns: by the number that signs; 0 unused */
    uint32_t count, capacity;
    uint64_t *hashes; /* owns: beginnings of the hashes of entries by number; 0: not seen */
    uint64_t hash_count;
    uint64_t base; /* entries that were there before the run began */
    uint8_t base_head[AUDIT_HASH_BYTES];
    bool begun;
};

/* What is found in the file, from its beginning: the chain as far as it holds. */
struct found {
    struct buffer bytes;
    uint64_t last;
    uint8_t head[AUDIT_HASH_BYTES];
    size_t sound_bytes;
};

struct ledger *ledger_create(void) {
    struct ledger *l = sim_alloc(sizeof(*l));
    l->count = 1;
    return l;
}

void ledger_free(struct ledger *l) {
    free(l->acts);
    free(l->hashes);
    free(l);
}

/* ---- what is asked ---- */

void ledger_sign(struct sim *s, struct call *c) {
    struct ledger *l = s->ledger;
    if (!audit_names(c->q.r.kind) || c->q.r.actor.size > 0 ||
        sim_draw(s, 'e', l->count + c->client) % SIGNED_ONE_IN != 0)
        return;
    if (l->count + 1 >= l->capacity) {
        l->capacity = l->capacity == 0 ? 1024 : l->capacity * 2;
        l->acts = realloc(l->acts, l->capacity * sizeof(*l->acts));
        assert(l->acts != NULL);
    }
    c->act = l->count++;
    l->acts[c->act] = (struct act){.duty = DUTY_MAY};
    snprintf(c->actor, sizeof(c->actor), "sim-%u", c->act);
    c->q.r.actor = span_text(c->actor);
    c->q.r.address = span_text("10.0.0.1:1");
    struct span reason = c->q.r.kind == REQUEST_MESSAGE_DELETE ? c->q.r.in.note
                         : c->q.r.kind == REQUEST_JOB_START    ? c->q.r.in.job_start.reason
                                                               : span_text("");
    snprintf(l->acts[c->act].reason, sizeof(l->acts->reason), "%.*s", SPAN_ARG(reason));
}

/* For certain: what was asked for was not so before. */
static bool has_changed(const struct request *r) {
    switch (r->kind) {
    case REQUEST_MESSAGE_DELETE:
    case REQUEST_MESSAGE_EDIT:
    case REQUEST_MESSAGE_TRANSFER:
    case REQUEST_JOB_START:
        return true;
    case REQUEST_QUEUE_PURGE:
    case REQUEST_QUEUE_REDRIVE:
        return r->count > 0;
    case REQUEST_DESTINATION_DEFINE:
    case REQUEST_STOCK_DEFINE:
    case REQUEST_QUEUE_DEFINE:
    case REQUEST_CAMPAIGN_DEFINE:
        return !r->in.define.how.ret_unchanged;
    default:
        return false;
    }
}

void ledger_answered(struct sim *s, const struct call *c) {
    if (c->act == 0)
        return;
    struct act *a = &s->ledger->acts[c->act];
    a->duty = c->q.r.refusal != REFUSAL_NONE ? DUTY_NONE
              : has_changed(&c->q.r)         ? DUTY_MUST
                                             : DUTY_MAY;
    SIM_CHECK(s, a->duty != DUTY_NONE || a->entry == 0, "action %u is refused and has entry %llu",
              c->act, (unsigned long long)a->entry);
}

/* ---- entries ---- */

static void see_act(struct sim *s, const struct audit_entry *e) {
    struct ledger *l = s->ledger;
    const uint8_t *at = memmem(e->text.data, e->text.size, ACTOR, sizeof(ACTOR) - 1);
    SIM_CHECK(s, at != NULL, "entry %llu is of nobody: %.*s", (unsigned long long)e->number,
              SPAN_ARG(e->text));
    uint64_t number = strtoull((const char *)at + sizeof(ACTOR) - 1, NULL, 10);
    SIM_CHECK(s, number > 0 && number < l->count, "entry %llu is of action %llu, nobody did that",
              (unsigned long long)e->number, (unsigned long long)number);
    struct act *a = &l->acts[number];
    SIM_CHECK(s, a->duty != DUTY_NONE, "entry %llu is of action %llu, which was refused",
              (unsigned long long)e->number, (unsigned long long)number);
    bool ends = memmem(e->text.data, e->text.size, OF_A_JOB, sizeof(OF_A_JOB) - 1) != NULL;
    uint64_t *entry = ends ? &a->end : &a->entry;
    SIM_CHECK(s, *entry == 0 || *entry == e->number, "action %llu has entries %llu and %llu: %.*s",
              (unsigned long long)number, (unsigned long long)*entry, (unsigned long long)e->number,
              SPAN_ARG(e->text));
    SIM_CHECK(s, ends || memmem(e->text.data, e->text.size, a->reason, strlen(a->reason)) != NULL,
              "entry %llu does not say why: %s", (unsigned long long)e->number, a->reason);
    *entry = e->number;
    s->result->entries++;
}

static void see_entry(struct sim *s, const struct audit_entry *e) {
    struct ledger *l = s->ledger;
    uint64_t hash;
    memcpy(&hash, e->hash, sizeof(hash));
    if (e->number <= l->base)
        return;
    if (e->number >= l->hash_count) {
        uint64_t count = (e->number + 1) * 2;
        l->hashes = realloc(l->hashes, count * sizeof(*l->hashes));
        assert(l->hashes != NULL);
        memset(l->hashes + l->hash_count, 0, (count - l->hash_count) * sizeof(*l->hashes));
        l->hash_count = count;
    }
    SIM_CHECK(s, l->hashes[e->number] == 0 || l->hashes[e->number] == hash,
              "entry %llu is another now", (unsigned long long)e->number);
    if (l->hashes[e->number] == 0)
        see_act(s, e);
    l->hashes[e->number] = hash;
}

/* ---- the file ---- */

static void read_file(struct sim *s, struct buffer *out) {
    const struct file_ops *files = sim_disk_ops(s->disk);
    uint8_t chunk[16384];
    int file = files->open(files->context, FILE_PATH, O_RDONLY, 0);
    uint64_t at = 0;
    for (ssize_t got = 1; file >= 0 && got > 0; at += (uint64_t)got) {
        got = files->read_at(files->context, file, chunk, sizeof(chunk), at);
        int error = got > 0 ? buffer_append(out, chunk, (size_t)got) : 0;
        assert(got >= 0 && error == 0);
    }
    if (file >= 0)
        files->close(files->context, file);
}

/* The next line, if it goes on with the chain. */
static bool next_line(struct found *f, struct audit_entry *ret) {
    size_t left = f->bytes.size - f->sound_bytes;
    const uint8_t *from = left > 0 ? f->bytes.data + f->sound_bytes : NULL;
    const uint8_t *end = left > 0 ? memchr(from, '\n', left) : NULL;
    uint8_t hash[AUDIT_HASH_BYTES];
    if (end == NULL || audit_line_parse(span_of(from, (size_t)(end - from)), ret) != 0)
        return false;
    audit_chain(f->head, ret->text, hash);
    if (ret->number != f->last + 1 || memcmp(hash, ret->hash, sizeof(hash)) != 0)
        return false;
    memcpy(f->head, hash, sizeof(hash));
    f->last = ret->number;
    f->sound_bytes += (size_t)(end - from) + 1;
    return true;
}

static void look_at_file(struct sim *s, struct found *f) {
    struct audit_entry e;
    buffer_init(&f->bytes, FILE_MAX_BYTES);
    read_file(s, &f->bytes);
    f->last = s->ledger->base;
    f->sound_bytes = 0;
    memcpy(f->head, s->ledger->base_head, sizeof(f->head));
    while (next_line(f, &e))
        see_entry(s, &e);
}

/* ---- the log's entries: the latest first ---- */

struct listed {
    struct audit_entry entries[LIST_MAX];
    uint32_t count;
};

static void take_list(const struct request *r, struct listed *ret) {
    struct reader in;
    reader_init(&in, buffer_span(&r->out_bytes));
    ret->count = 0;
    for (uint64_t i = 0; i < r->count; i++) {
        struct audit_entry *e = &ret->entries[ret->count++];
        memcpy(e->hash, reader_take(&in, AUDIT_HASH_BYTES).data, AUDIT_HASH_BYTES);
        e->text = reader_bytes(&in);
        const uint8_t *number = memmem(e->text.data, e->text.size, "\"number\":", 9);
        assert(number != NULL && !in.failed);
        e->number = strtoull((const char *)number + 9, NULL, 10);
    }
}

/* From the end of the file to the chain's head. */
static void join(struct sim *s, struct found *f, const struct listed *list,
                 const struct audit_state *state) {
    for (uint32_t i = list->count; i-- > 0;) {
        const struct audit_entry *e = &list->entries[i];
        see_entry(s, e);
        if (e->number != f->last + 1)
            continue;
        audit_chain(f->head, e->text, f->head);
        SIM_CHECK(s, memcmp(f->head, e->hash, sizeof(f->head)) == 0,
                  "entry %llu does not go on with the chain", (unsigned long long)e->number);
        f->last = e->number;
    }
    SIM_CHECK(s, f->last >= state->count, "the audit has %llu entries; file and log have %llu",
              (unsigned long long)state->count, (unsigned long long)f->last);
    SIM_CHECK(s, f->last != state->count || memcmp(f->head, state->head, sizeof(f->head)) == 0,
              "the chain of %llu entries ends in another head", (unsigned long long)f->last);
}

static void check_acts(struct sim *s) {
    const struct ledger *l = s->ledger;
    for (uint32_t i = 1; i < l->count; i++)
        SIM_CHECK(s, l->acts[i].duty != DUTY_MUST || l->acts[i].entry != 0,
                  "action %u was answered and has no entry", i);
}

void ledger_audit(struct sim *s, const struct request *list) {
    static struct listed listed;
    struct ledger *l = s->ledger;
    struct found found;
    const struct audit_state *state = &list->out.audit;
    if (!l->begun) { /* of an imported folder: it begins with what is there */
        l->begun = true;
        l->base = state->count;
        memcpy(l->base_head, state->head, sizeof(l->base_head));
    }
    look_at_file(s, &found);
    SIM_CHECK(s, found.last >= state->written,
              "the audit file is sound up to entry %llu; %llu were written",
              (unsigned long long)found.last, (unsigned long long)state->written);
    SIM_CHECK(s, found.last <= state->count,
              "the audit file has entry %llu; the log has %llu and nobody did more",
              (unsigned long long)found.last, (unsigned long long)state->count);
    take_list(list, &listed);
    join(s, &found, &listed, state);
    check_acts(s);
    buffer_release(&found.bytes);
}

void ledger_finish(struct sim *s) {
    struct found found;
    look_at_file(s, &found);
    SIM_CHECK(s, found.sound_bytes == found.bytes.size, "the audit file ends in rubbish");
    for (uint64_t i = s->ledger->base + 1; i < s->ledger->hash_count; i++)
        SIM_CHECK(s, s->ledger->hashes[i] == 0 || i <= found.last,
                  "entry %llu never came into the file", (unsigned long long)i);
    buffer_release(&found.bytes);
}
