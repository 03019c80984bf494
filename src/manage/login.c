/*
 * Basic: a name and a password of AMQP's users.
 *
 *      ACCESS_GET ──► known before? ──► tags ──► (PERMISSION_LIST) ──► call_go_on
 *                          └─ no: checked in a worker thread ─┘
 *
 * `guest` is let in from this machine only. While nobody has defined it, guest/guest is an administrator where
 * everything is open to this machine anyway (no tokens, no page of another site): call_is_open.
 * A name that nobody has takes as long as a wrong password. At most CHECKING_MAX passwords are checked at a
 * time: each takes 64 MiB and a tenth of a second of a worker.
 */
#include <sodium.h>
#include <stdlib.h>
#include <uv.h>

#include "base/error.h"
#include "base/password.h"
#include "manage/calls.h"
#include "manage/manager.h"

#define GUEST          "guest"
#define LOGIN_BYTES    1024u /* of name and password */
#define CHECKING_MAX   8u
#define TEXT_MAX_BYTES 4096u

struct manage_login {
    uv_work_t work;
    struct call *call; /* borrows */
    struct auth_user user;
    struct span password;
    char text[LOGIN_BYTES + 1]; /* "name:password" */
    char hash[PASSWORD_HASH_BYTES];
    char renewed[PASSWORD_HASH_BYTES]; /* empty: it stays */
    char tags[TEXT_MAX_BYTES + 1];
    bool known;         /* there is such a user */
    bool right;         /* and it is the password */
    struct buffer list; /* owns: PERMISSION_LIST, unless administrator */
};

void manage_login_free(struct manage_login *l) {
    if (l == NULL)
        return;
    buffer_release(&l->list);
    sodium_memzero(l->text, sizeof l->text);
    free(l);
}

static void refuse(struct call *c) {
    call_header(c, "WWW-Authenticate", span_text("Basic realm=\"sluice\""));
    call_problem(c, PROBLEM_UNAUTHORIZED, "Login failed");
}

/* ---- what was right before ---- */

static void login_hash(struct manager *m, const struct manage_login *l,
                       uint8_t out[KNOWN_LOGIN_BYTES]) {
    crypto_generichash_state state;
    uint64_t sizes[2] = {l->user.name.size, l->password.size};
    crypto_generichash_init(&state, m->key, sizeof m->key, KNOWN_LOGIN_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)sizes, sizeof sizes);
    crypto_generichash_update(&state, l->user.name.data, l->user.name.size);
    crypto_generichash_update(&state, l->password.data, l->password.size);
    crypto_generichash_update(&state, (const uint8_t *)l->hash, strlen(l->hash));
    crypto_generichash_final(&state, out, KNOWN_LOGIN_BYTES);
}

static bool was_right(struct manager *m, const struct manage_login *l) {
    uint8_t hash[KNOWN_LOGIN_BYTES];
    bool found = false;
    login_hash(m, l, hash);
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < KNOWN_LOGINS; i++)
        found |= sodium_memcmp(m->known[i], hash, sizeof hash) == 0;
    pthread_mutex_unlock(&m->lock);
    return found;
}

static void remember(struct manager *m, const struct manage_login *l) {
    uint8_t hash[KNOWN_LOGIN_BYTES];
    login_hash(m, l, hash);
    pthread_mutex_lock(&m->lock);
    memcpy(m->known[m->next_known++ % KNOWN_LOGINS], hash, sizeof hash);
    pthread_mutex_unlock(&m->lock);
}

/* ---- rights ---- */

unsigned manage_tags(struct span text) {
    static const struct {
        const char *name;
        enum user_tag tag;
    } known[] = {{"management", USER_MANAGEMENT},
                 {"policymaker", USER_POLICYMAKER},
                 {"monitoring", USER_MONITORING},
                 {"administrator", USER_ADMINISTRATOR}};
    unsigned tags = 0;
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        size_t size = comma != NULL ? (size_t)(comma - text.data) : text.size;
        for (size_t i = 0; i < ARRAY_LENGTH(known); i++)
            tags |= span_is(span_of(text.data, size), known[i].name) ? known[i].tag : 0;
        size += comma != NULL;
        text = span_of(text.data + size, text.size - size);
    }
    return tags;
}

static bool text_matches(struct span pattern, struct span name) {
    struct pattern *p;
    if (pattern.size == 0 || pattern_compile(pattern, &p) != 0)
        return false;
    bool matches = pattern_matches(p, name);
    pattern_free(p);
    return matches;
}

static bool permitted(const struct manage_login *l, enum manage_right right, struct span vhost,
                      struct span name) {
    struct manage_items items = {.list = LIST_PERMISSION};
    struct manage_item item;
    reader_init(&items.rest, buffer_span(&l->list));
    while (items_next(&items, &item)) {
        const struct permission_def *p = &item.u.permission;
        if (!span_equal(p->user, l->user.name) || !span_equal(p->vhost, vhost))
            continue;
        return right == RIGHT_SEE || text_matches(right == RIGHT_CONFIGURE ? p->configure
                                                  : right == RIGHT_WRITE   ? p->write
                                                                           : p->read,
                                                  name);
    }
    return false;
}

bool manage_may(const struct call *c, enum manage_right right, struct span vhost,
                struct span name) {
    const struct auth_user *user = c->principal.user;
    const struct manage *m = c->own;
    if (user == NULL || (user->tags & USER_ADMINISTRATOR) != 0)
        return true;
    bool sees_all = right == RIGHT_SEE && (user->tags & USER_MONITORING) != 0;
    return sees_all || permitted(m->login, right, vhost, name);
}

bool manage_allowed(struct call *c, enum manage_right right, struct span vhost, struct span name) {
    if (manage_may(c, right, vhost, name))
        return true;
    call_problem(c, PROBLEM_FORBIDDEN, "access refused by the user's permissions");
    return false;
}

/* ---- the way in ---- */

static void let_in(struct call *c) {
    struct manage *m = c->own;
    c->principal.user = &m->login->user;
    (void)call_request(c, REQUEST_NOTHING);
    c->quiet = false;
    call_go_on(c);
}

static void permissions_known(struct call *c) {
    struct manage *m = c->own;
    if (manage_refused(c))
        return;
    if (buffer_append_span(&m->login->list, buffer_span(&c->request.r.out_bytes)) != 0)
        call_problem(c, PROBLEM_INTERNAL, NULL);
    else
        let_in(c);
}

static void identified(struct call *c) {
    struct manage *m = c->own;
    struct manage_login *l = m->login;
    l->user.tags = manage_tags(span_text(l->tags));
    if ((l->user.tags & USER_ADMINISTRATOR) != 0) {
        let_in(c);
        return;
    }
    (void)call_request(c, REQUEST_PERMISSION_LIST);
    manage_submit(c, true, permissions_known);
}

static void renewed(struct call *c) {
    identified(c); /* refused or not: it is for the next time */
}

static void renew(struct call *c) {
    struct manage *m = c->own;
    struct manage_login *l = m->login;
    struct request *r = call_request(c, REQUEST_USER_DEFINE);
    r->name = l->user.name;
    r->in.user = (struct user_def){.name = l->user.name,
                                   .hash = span_text(l->renewed),
                                   .tags = span_text(l->tags),
                                   .renews = span_text(l->hash)};
    manage_submit(c, true, renewed);
}

/* ---- the password ---- */

static void work(uv_work_t *w) {
    struct manage_login *l = CONTAINER_OF(w, struct manage_login, work);
    struct span hash = span_text(l->hash);
    l->right =
        l->known ? password_matches(hash, l->password) : password_matches_nobody(l->password);
    if (l->right && password_is_foreign(hash) && password_hash(l->password, l->renewed) != 0)
        l->renewed[0] = '\0'; /* no memory: another time */
}

static void after_work(uv_work_t *w, int status) {
    struct manage_login *l = CONTAINER_OF(w, struct manage_login, work);
    struct call *c = l->call;
    struct manager *m = manage_manager(c);
    (void)status;
    manage_worked(c);
    if (!l->right) {
        refuse(c);
        return;
    }
    remember(m, l);
    if (l->renewed[0] != '\0')
        renew(c);
    else
        identified(c);
}

void manage_work(struct call *c, uv_work_t *w, uv_work_cb work_on, uv_after_work_cb after) {
    struct manager *m = manage_manager(c);
    if (atomic_fetch_add(&m->checking, 1) >= CHECKING_MAX ||
        uv_queue_work(net_loop_uv(c->loop->loop), w, work_on, after) != 0) {
        atomic_fetch_sub(&m->checking, 1);
        call_problem(c, PROBLEM_BUSY, "too many passwords are being checked");
    }
}

void manage_worked(struct call *c) {
    atomic_fetch_sub(&manage_manager(c)->checking, 1);
}

/* Out of the USER item: key name, text hash, text tags. */
static bool take_user(struct manage_login *l, const struct request *r) {
    struct manage_items items = {.list = LIST_USER};
    struct manage_item item;
    reader_init(&items.rest, buffer_span(&r->out_bytes));
    if (!items_next(&items, &item) || item.u.user.hash.size >= sizeof l->hash ||
        item.u.user.tags.size >= sizeof l->tags)
        return false;
    memcpy(l->hash, item.u.user.hash.data, item.u.user.hash.size);
    memcpy(l->tags, item.u.user.tags.data, item.u.user.tags.size);
    return true;
}

static void user_known(struct call *c) {
    struct manage *m = c->own;
    struct manage_login *l = m->login;
    const struct request *r = &c->request.r;
    if (r->refusal != REFUSAL_NOT_FOUND && manage_refused(c))
        return;
    bool guest = span_is(l->user.name, GUEST);
    l->known = r->refusal == REFUSAL_NONE && take_user(l, r);
    if (r->refusal == REFUSAL_NOT_FOUND && guest && span_is(l->password, GUEST) &&
        call_is_open(c)) {
        strcpy(l->tags, "administrator");
        identified(c);
    } else if (l->known && was_right(manage_manager(c), l)) {
        identified(c);
    } else {
        manage_work(c, &l->work, work, after_work);
    }
}

/* "Basic <base64 of name:password>" */
static bool read_login(struct manage_login *l, struct span field) {
    const size_t scheme = sizeof "Basic " - 1;
    size_t size;
    if (sodium_base642bin((uint8_t *)l->text, LOGIN_BYTES, (const char *)field.data + scheme,
                          field.size - scheme, " ", &size, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    char *colon = memchr(l->text, ':', size);
    if (colon == NULL)
        return false;
    l->user.name = span_of(l->text, (size_t)(colon - l->text));
    l->password = span_of(colon + 1, size - l->user.name.size - 1);
    return l->user.name.size >= 1 && l->user.name.size <= UINT8_MAX;
}

void manage_login(struct call *c) {
    struct manage *m = manage_of(c);
    if (m == NULL)
        return;
    struct manage_login *l = calloc(1, sizeof *l);
    if (l == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    m->login = l;
    l->call = c;
    buffer_init(&l->list, (size_t)256 << 20);
    bool readable = read_login(l, c->head.authorization);
    if (!readable || (span_is(l->user.name, GUEST) && !http_peer_is_loopback(c->x))) {
        refuse(c);
        return;
    }
    struct request *r = call_request(c, REQUEST_ACCESS_GET);
    r->in.permission.user = l->user.name;
    manage_submit(c, true, user_known);
}
