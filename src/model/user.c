/*
 * Users and permissions.
 *
 *   USER_DEFINED         1+. name   4+. hash   4+. tags
 *   USER_DELETED         1+. name; its permissions go too
 *   PERMISSION_DEFINED   1+. user   1+. vhost   4+. configure   4+. write   4+. read
 *   PERMISSION_DELETED   1+. user   1+. vhost
 *
 * A snapshot has 8 generation, 4 count of users, their USER_DEFINED payloads each behind a u32 length, and the
 * same for permissions. They are few and asked for at login only: a sorted array each, searched by halves.
 */
#include "model/user.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/exchange.h"
#include "model/fact.h"
#include "model/put.h"
#include "model/state.h"

#define PERMISSIONS_PER_USER 100u
#define TEXT_MAX             4096u

/* One user or permission: its payload, key first. */
struct record {
    uint8_t *bytes; /* owns */
    uint32_t size;
    uint32_t key_size; /* of the keys at its beginning */
};

struct table {
    struct record *records; /* owns; by key */
    uint32_t count, capacity;
};

struct users {
    struct table users, permissions;
    uint64_t generation;
};

/* ---- tables ---- */

static struct span record_key(const struct record *r) {
    return span_of(r->bytes, r->key_size);
}

static int compare(struct span a, struct span b) {
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    return order != 0 ? order : a.size < b.size ? -1 : a.size > b.size;
}

/* The first that is not before `key`. */
static uint32_t table_lower(const struct table *t, struct span key) {
    uint32_t low = 0, high = t->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare(record_key(&t->records[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct record *table_find(const struct table *t, struct span key) {
    uint32_t at = table_lower(t, key);
    bool there = at < t->count && span_equal(record_key(&t->records[at]), key);
    return there ? &t->records[at] : NULL;
}

static int table_put(struct table *t, struct span bytes, size_t key_size) {
    uint32_t at = table_lower(t, span_of(bytes.data, key_size));
    bool there =
        at < t->count && span_equal(record_key(&t->records[at]), span_of(bytes.data, key_size));
    if (t->count == t->capacity && !there) {
        uint32_t capacity = t->capacity == 0 ? 8 : t->capacity * 2;
        struct record *grown = realloc(t->records, capacity * sizeof *grown);
        if (grown == NULL) {
            return E_NOMEM;
        }
        t->records = grown;
        t->capacity = capacity;
    }
    uint8_t *copy = malloc(bytes.size);
    if (copy == NULL) {
        return E_NOMEM;
    }
    memcpy(copy, bytes.data, bytes.size);
    if (there) {
        free(t->records[at].bytes);
    } else {
        memmove(t->records + at + 1, t->records + at, (t->count - at) * sizeof *t->records);
        t->count++;
    }
    t->records[at] = (struct record){
        .bytes = copy, .size = (uint32_t)bytes.size, .key_size = (uint32_t)key_size};
    return 0;
}

static void table_drop(struct table *t, uint32_t at) {
    free(t->records[at].bytes);
    t->count--;
    memmove(t->records + at, t->records + at + 1, (t->count - at) * sizeof *t->records);
}

static void table_clear(struct table *t) {
    for (uint32_t i = 0; i < t->count; i++) {
        free(t->records[i].bytes);
    }
    free(t->records);
    *t = (struct table){.count = 0};
}

int users_create(struct model *m, struct users **ret) {
    struct users *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    *ret = s;
    return 0;
}

void users_free(struct users *s) {
    if (s != NULL) {
        table_clear(&s->users);
        table_clear(&s->permissions);
        free(s);
    }
}

uint64_t user_generation(const struct model *m) {
    return __atomic_load_n(&m->users->generation, __ATOMIC_RELAXED);
}

/* ---- decide ---- */

/* Keys as they begin a payload; at most two. */
struct keys {
    uint8_t bytes[2 * 256];
    size_t size;
};

static struct span keys_make(struct keys *k, struct span a, const struct span *b) {
    k->bytes[0] = (uint8_t)a.size;
    memcpy(k->bytes + 1, a.data, a.size);
    k->size = 1 + a.size;
    if (b != NULL) {
        k->bytes[k->size] = (uint8_t)b->size;
        memcpy(k->bytes + k->size + 1, b->data, b->size);
        k->size += 1 + b->size;
    }
    return span_of(k->bytes, k->size);
}

static bool name_fits(struct span name) {
    return name.size >= 1 && name.size <= UINT8_MAX;
}

static bool is_renewed(const struct record *u, const struct user_def *in, struct span *ret_tags) {
    struct reader item;
    if (u == NULL) {
        return false;
    }
    reader_init(&item, span_of(u->bytes, u->size));
    (void)reader_key(&item);
    bool same = span_equal(reader_bytes(&item), in->renews);
    *ret_tags = reader_bytes(&item);
    return same;
}

static enum refusal define_user(const struct model *m, struct decision *d, struct request *r) {
    const struct user_def *in = &r->in.user;
    struct span tags = in->tags;
    struct keys k;
    if (!name_fits(in->name) || in->hash.size > TEXT_MAX || in->tags.size > TEXT_MAX) {
        return request_invalid(r, "/name", "1 to 255 bytes; hash and tags at most 4 KiB");
    }
    const struct record *u = table_find(&m->users->users, keys_make(&k, in->name, NULL));
    if (in->renews.size > 0 && !is_renewed(u, in, &tags)) {
        return REFUSAL_STALE;
    }
    if (u == NULL && m->users->users.count >= m->limits.users) {
        return request_refuse(r, REFUSAL_LIMIT, "no more users: limits.users is reached");
    }
    size_t begun = decision_begin(d, FACT_USER_DEFINED, 1);
    decision_put_key(d, in->name);
    decision_put_bytes(d, in->hash);
    decision_put_bytes(d, tags);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static enum refusal define_permission(const struct model *m, struct decision *d,
                                      struct request *r) {
    const struct permission_def *in = &r->in.permission;
    struct keys k;
    bool fits = name_fits(in->user) && name_fits(in->vhost) && in->configure.size <= TEXT_MAX &&
                in->write.size <= TEXT_MAX && in->read.size <= TEXT_MAX;
    if (!fits) {
        return request_invalid(r, "/user", "a user, a vhost, patterns of at most 4 KiB");
    }
    if (table_find(&m->users->users, keys_make(&k, in->user, NULL)) == NULL ||
        !exchange_vhost_exists(m, in->vhost)) {
        return request_refuse(r, REFUSAL_REFERENCE, "no such user or vhost");
    }
    if (m->users->permissions.count >= m->limits.users * (uint64_t)PERMISSIONS_PER_USER) {
        return request_refuse(r, REFUSAL_LIMIT, "no more permissions: limits.users");
    }
    size_t begun = decision_begin(d, FACT_PERMISSION_DEFINED, 1);
    decision_put_key(d, in->user);
    decision_put_key(d, in->vhost);
    decision_put_bytes(d, in->configure);
    decision_put_bytes(d, in->write);
    decision_put_bytes(d, in->read);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r) {
    bool user = r->kind == REQUEST_USER_DELETE;
    struct span name = user ? r->in.user.name : r->in.permission.user;
    struct keys k;
    if (!name_fits(name) || (!user && !name_fits(r->in.permission.vhost))) {
        return request_invalid(r, "/name", "1 to 255 bytes");
    }
    struct span key = keys_make(&k, name, user ? NULL : &r->in.permission.vhost);
    if (table_find(user ? &m->users->users : &m->users->permissions, key) == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, user ? "no such user" : "no such permission");
    }
    size_t begun = decision_begin(d, user ? FACT_USER_DELETED : FACT_PERMISSION_DELETED, 1);
    decision_put_span(d, key);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static void list_record(struct decision *d, struct request *r, const struct record *record) {
    d->failed |= buffer_put_bytes(&r->out_bytes, span_of(record->bytes, record->size)) != 0;
    r->count++;
}

static enum refusal decide_list(const struct table *t, struct decision *d, struct request *r) {
    for (uint32_t i = 0; i < t->count; i++) {
        list_record(d, r, &t->records[i]);
    }
    return REFUSAL_NONE;
}

static enum refusal decide_access(const struct model *m, struct decision *d, struct request *r) {
    const struct permission_def *in = &r->in.permission;
    struct keys k;
    const struct record *user =
        name_fits(in->user) ? table_find(&m->users->users, keys_make(&k, in->user, NULL)) : NULL;
    r->generation = (uint32_t)m->users->generation;
    if (user == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "no such user");
    }
    list_record(d, r, user);
    const struct record *permission =
        name_fits(in->vhost)
            ? table_find(&m->users->permissions, keys_make(&k, in->user, &in->vhost))
            : NULL;
    if (permission != NULL) {
        list_record(d, r, permission);
    }
    return REFUSAL_NONE;
}

static enum refusal user_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_USER_DEFINE:
        return define_user(m, d, r);
    case REQUEST_PERMISSION_DEFINE:
        return define_permission(m, d, r);
    case REQUEST_USER_DELETE:
    case REQUEST_PERMISSION_DELETE:
        return decide_delete(m, d, r);
    case REQUEST_USER_LIST:
        return decide_list(&m->users->users, d, r);
    case REQUEST_PERMISSION_LIST:
        return decide_list(&m->users->permissions, d, r);
    case REQUEST_ACCESS_GET:
        return decide_access(m, d, r);
    default:
        return REFUSAL_INVALID;
    }
}

/* ---- apply ---- */

/* Checks a payload of `keys` keys and `texts` texts; the size of its keys. */
static int payload_check(struct span bytes, unsigned keys, unsigned texts, size_t *ret_keys) {
    struct reader in;
    reader_init(&in, bytes);
    for (unsigned i = 0; i < keys; i++) {
        (void)reader_key(&in);
    }
    *ret_keys = bytes.size - in.left;
    for (unsigned i = 0; i < texts; i++) {
        (void)reader_bytes(&in);
    }
    return reader_done(&in) ? 0 : E_CORRUPT;
}

static int put(struct table *t, struct span bytes, unsigned keys, unsigned texts) {
    size_t key_size;
    int rc = payload_check(bytes, keys, texts, &key_size);
    return rc != 0 ? rc : table_put(t, bytes, key_size);
}

static int drop(struct users *s, struct table *t, struct span key) {
    const struct record *found = table_find(t, key);
    if (found == NULL) {
        return E_CORRUPT;
    }
    table_drop(t, (uint32_t)(found - t->records));
    if (t == &s->users) { /* U2: those of this user stand together */
        uint32_t at = table_lower(&s->permissions, key);
        while (at < s->permissions.count && s->permissions.records[at].key_size >= key.size &&
               memcmp(s->permissions.records[at].bytes, key.data, key.size) == 0) {
            table_drop(&s->permissions, at);
        }
    }
    return 0;
}

static int user_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                      struct reader *in) {
    struct users *s = m->users;
    struct span bytes = reader_take(in, in->left);
    __atomic_store_n(&s->generation, s->generation + 1, __ATOMIC_RELAXED);
    switch (kind) {
    case FACT_USER_DEFINED:
        return put(&s->users, bytes, 1, 2);
    case FACT_PERMISSION_DEFINED:
        return put(&s->permissions, bytes, 2, 3);
    case FACT_USER_DELETED:
        return drop(s, &s->users, bytes);
    case FACT_PERMISSION_DELETED:
        return drop(s, &s->permissions, bytes);
    default:
        return E_VERSION;
    }
}

/* ---- snapshot ---- */

static void save_table(const struct table *t, struct saver *out) {
    save_u32(out, t->count);
    for (uint32_t i = 0; i < t->count; i++) {
        struct span bytes = span_of(t->records[i].bytes, t->records[i].size);
        out->rc = out->rc != 0 ? out->rc : buffer_put_bytes(out->chunk, bytes);
        save_item_end(out);
    }
}

static int user_save(const struct model *m, struct buffer *chunk,
                     int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    save_u64(&out, m->users->generation);
    save_table(&m->users->users, &out);
    save_table(&m->users->permissions, &out);
    return out.rc;
}

static int load_table(struct table *t, struct reader *in, unsigned keys, unsigned texts) {
    uint32_t count = reader_u32(in);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct span bytes = reader_bytes(in);
        rc = in->failed ? E_CORRUPT : put(t, bytes, keys, texts);
    }
    return rc;
}

static int user_load(struct model *m, struct reader *section) {
    m->users->generation = reader_u64(section);
    int rc = load_table(&m->users->users, section, 1, 2);
    return rc != 0 ? rc : load_table(&m->users->permissions, section, 2, 3);
}

static void check_table(const struct table *t) {
    for (uint32_t i = 1; i < t->count; i++) {
        assert(compare(record_key(&t->records[i - 1]), record_key(&t->records[i])) < 0); /* U1 */
    }
}

static void user_check(const struct model *m) {
    check_table(&m->users->users);
    check_table(&m->users->permissions);
}

const struct module user_module = {
    .name = "user",
    .decide = user_decide,
    .apply = user_apply,
    .save = user_save,
    .load = user_load,
    .check = user_check,
    .section_version = 1,
};
