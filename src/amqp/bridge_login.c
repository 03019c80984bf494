/*
 * Who may come in, and into which vhost. Users and rights are in the model; whether a password is true takes long to find out,
 * so that is done by a thread of the pool, between the engine's answer and ours.
 */
#include "amqp/access.h"
#include "amqp/bridge.h"
#include "amqp/bridge_ops.h"
#include "amqp/connection_state.h"
#include "base/password.h"

#define GUEST "guest" /* from this machine only */

static void no_memory(struct amqp_op *op) {
    amqp_op_refuse(op, AMQP_INTERNAL_ERROR, "out of memory");
}

static void ask_access(struct amqp_crossing *x, struct span user, struct span vhost) {
    struct request *r = &x->request.r;
    request_init(r, REQUEST_ACCESS_GET);
    r->in.permission.user = user;
    r->in.permission.vhost = vhost;
}

/* ---- login ---- */

static void refuse_login(struct amqp_op *op) {
    amqp_op_refuse(op, AMQP_ACCESS_REFUSED,
                   "Login was refused using authentication mechanism %s. For details see the "
                   "broker logfile.",
                   op->in.login.external ? "EXTERNAL" : "PLAIN");
}

bool amqp_login_begin(struct amqp_crossing *x) {
    struct amqp_op *op = x->op;
    bool far = !amqp_server_peer(op->connection)->loopback;
    size_t size = 1;
    if (op->in.login.external) { /* the name lies where the password's hash would */
        size = amqp_server_certificate_name(op->connection, x->hash, sizeof x->hash);
        op->in.login.user = span_of(x->hash, size);
    }
    if (size == 0 || (far && span_is(op->in.login.user, GUEST))) {
        refuse_login(op);
        return false;
    }
    ask_access(x, op->in.login.user, span_of(NULL, 0));
    return true;
}

/* Out of the USER item: key name, text hash, text tags. */
static struct span user_hash(const struct request *r) {
    struct reader all, item;
    reader_init(&all, buffer_span(&r->out_bytes));
    reader_init(&item, reader_bytes(&all));
    reader_take(&item, reader_u8(&item));
    return reader_bytes(&item);
}

static void let_in(struct amqp_op *op) {
    if (amqp_op_set_name(op, op->in.login.user) != 0)
        no_memory(op);
}

/*
 * Without a user of that name guest may be let in from this machine with the password that everybody knows.
 * Who has no password, or no user, is refused when it took as long as a wrong password.
 */
bool amqp_login_finish(struct amqp_crossing *x) {
    const struct request *r = &x->request.r;
    struct amqp_op *op = x->op;
    if (op->in.login.external) {
        if (r->refusal == REFUSAL_NONE)
            let_in(op);
        else
            refuse_login(op);
        return true;
    }
    if (r->refusal == REFUSAL_NOT_FOUND && amqp_bridge_knows_guest(x->bridge) &&
        span_is(op->in.login.user, GUEST) && span_is(op->in.login.password, GUEST)) {
        let_in(op);
        return true;
    }
    struct span hash = r->refusal == REFUSAL_NONE ? user_hash(r) : span_of(NULL, 0);
    if (hash.size >= sizeof x->hash)
        hash.size = 0;
    if (hash.size > 0)
        memcpy(x->hash, hash.data, hash.size);
    x->hash[hash.size] = '\0';
    return false;
}

void amqp_crossing_check_password(struct amqp_crossing *x) {
    struct span hash = span_text(x->hash), password = x->op->in.login.password;
    x->known = hash.size > 0 ? password_matches(hash, password) : password_matches_nobody(password);
}

void amqp_crossing_checked(struct amqp_crossing *x) {
    if (x->known)
        let_in(x->op);
    else
        refuse_login(x->op);
}

/* ---- vhost ---- */

bool amqp_open_begin(struct amqp_crossing *x) {
    ask_access(x, amqp_connection_user(x->op->connection),
               amqp_connection_vhost(x->op->connection));
    return true;
}

static int need_access(struct amqp_crossing *x, struct span user, struct span vhost,
                       struct amqp_access **ret) {
    struct list *shared = amqp_bridge_access(x->bridge);
    *ret = amqp_access_find(shared, user, vhost);
    return *ret != NULL ? 0 : amqp_access_create(shared, user, vhost, ret);
}

/* False: nothing is allowed. As long as nobody defined it, guest may do all in the vhost that is always there. */
static bool learn_access(struct amqp_access *a, const struct request *r) {
    struct span all = span_text(".*"), patterns[AMQP_RIGHTS] = {{0}};
    bool guest_at_home = span_is(amqp_access_user(a), GUEST) && span_is(amqp_access_vhost(a), "/");
    if (r->refusal == REFUSAL_NONE)
        return amqp_access_read(a, buffer_span(&r->out_bytes));
    if (r->refusal == REFUSAL_NOT_FOUND && guest_at_home)
        patterns[AMQP_CONFIGURE] = patterns[AMQP_WRITE] = patterns[AMQP_READ] = all;
    amqp_access_set(a, patterns);
    if (patterns[0].size > 0)
        amqp_access_set_administrator(a);
    return patterns[0].size > 0;
}

void amqp_crossing_begin_access(struct amqp_crossing *x) {
    ask_access(x, amqp_access_user(x->access), amqp_access_vhost(x->access));
}

void amqp_access_learn(struct amqp_crossing *x) {
    (void)learn_access(x->access, &x->request.r);
}

static void enter_vhost(struct amqp_crossing *x, struct amqp_access *access) {
    struct amqp_route *route;
    if (amqp_route_add(amqp_bridge_routes(x->bridge), x->op->connection, &route) != 0) {
        no_memory(x->op);
        return;
    }
    amqp_access_ref(access);
    route->access = access;
    amqp_connection_set_link(x->op->connection, route);
    amqp_connection_set_address(x->op->connection, route->session);
}

void amqp_open_finish(struct amqp_crossing *x) {
    struct amqp_op *op = x->op;
    struct span vhost = amqp_connection_vhost(op->connection);
    struct span user = amqp_connection_user(op->connection);
    bool guest_at_home = span_is(user, GUEST) && span_is(vhost, "/");
    enum refusal refusal = x->request.r.refusal;
    struct amqp_access *access = NULL;
    if (refusal == REFUSAL_NOT_FOUND && !guest_at_home)
        amqp_op_refuse(op, AMQP_NOT_ALLOWED, "vhost %.*s not found", SPAN_ARG(vhost));
    else if (need_access(x, user, vhost, &access) != 0)
        no_memory(op);
    else if (!learn_access(access, &x->request.r))
        amqp_op_refuse(op, AMQP_NOT_ALLOWED, "access to vhost '%.*s' refused for user '%.*s'",
                       SPAN_ARG(vhost), SPAN_ARG(user));
    else
        enter_vhost(x, access);
    amqp_access_unref(access);
}
