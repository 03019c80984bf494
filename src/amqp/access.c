#include "amqp/access.h"

#include <stdlib.h>

#include "amqp/message.h"
#include "base/amqp_table.h"
#include "base/error.h"
#include "base/pattern.h"
#include "base/reader.h"

#define GENERATED_QUEUE                                                                            \
    "amq.gen-AAAAAAAAAAAAAAAAAAAAAA" /* stands for a name that is not made yet */

struct right {
    enum { NOTHING, EVERYTHING, NOT_COMPILED, COMPILED } state;
    char *text;               /* owns */
    struct pattern *compiled; /* owns */
};

struct amqp_access {
    struct list_node node; /* in the bridge's */
    uint32_t references;
    char *user, *vhost; /* own */
    bool administrator;
    struct right rights[AMQP_RIGHTS];
    struct span written; /* owns: the exchange that was written to last, and allowed */
};

/* ---- those of a bridge ---- */

int amqp_access_create(struct list *shared, struct span user, struct span vhost,
                       struct amqp_access **ret) {
    struct amqp_access *a = calloc(1, sizeof *a);
    if (a == NULL)
        return E_NOMEM;
    a->user = span_dup(user);
    a->vhost = span_dup(vhost);
    if (a->user == NULL || a->vhost == NULL) {
        free(a->user);
        free(a->vhost);
        free(a);
        return E_NOMEM;
    }
    a->references = 1;
    list_append(shared, &a->node);
    *ret = a;
    return 0;
}

struct amqp_access *amqp_access_next(const struct list *shared, const struct amqp_access *a) {
    struct list_node *n = list_next(shared, &a->node);
    return n != NULL ? CONTAINER_OF(n, struct amqp_access, node) : NULL;
}

struct amqp_access *amqp_access_first(const struct list *shared) {
    struct list_node *n = list_first(shared);
    return n != NULL ? CONTAINER_OF(n, struct amqp_access, node) : NULL;
}

struct amqp_access *amqp_access_find(const struct list *shared, struct span user,
                                     struct span vhost) {
    struct amqp_access *a = amqp_access_first(shared);
    while (a != NULL && !(span_is(user, a->user) && span_is(vhost, a->vhost)))
        a = amqp_access_next(shared, a);
    if (a != NULL)
        a->references++;
    return a;
}

void amqp_access_ref(struct amqp_access *a) {
    a->references++;
}

static void forget(struct amqp_access *a) {
    a->administrator = false;
    for (size_t i = 0; i < AMQP_RIGHTS; i++) {
        struct right *p = &a->rights[i];
        pattern_free(p->compiled);
        free(p->text);
        *p = (struct right){.state = NOTHING};
    }
    free((void *)a->written.data);
    a->written = span_of(NULL, 0);
}

void amqp_access_unref(struct amqp_access *a) {
    if (a == NULL || --a->references > 0)
        return;
    list_remove(&a->node);
    forget(a);
    free(a->user);
    free(a->vhost);
    free(a);
}

struct span amqp_access_user(const struct amqp_access *a) {
    return span_text(a->user);
}

struct span amqp_access_vhost(const struct amqp_access *a) {
    return span_text(a->vhost);
}

/* ---- patterns ---- */

void amqp_access_set(struct amqp_access *a, const struct span patterns[AMQP_RIGHTS]) {
    forget(a);
    for (size_t i = 0; i < AMQP_RIGHTS; i++) {
        struct right *p = &a->rights[i];
        if (span_is(patterns[i], ".*") || span_is(patterns[i], "^.*$")) {
            p->state = EVERYTHING;
        } else if (patterns[i].size > 0) {
            p->text = span_dup(patterns[i]);
            p->state = p->text != NULL ? NOT_COMPILED : NOTHING;
        }
    }
}

/* The item USER: key name, texts hash and tags. */
static bool has_tag(struct span user) {
    static const char tag[] = "administrator";
    struct reader r;
    reader_init(&r, user);
    reader_take(&r, reader_u8(&r));
    (void)reader_bytes(&r);
    struct span tags = reader_bytes(&r);
    for (size_t at = 0; !r.failed && at < tags.size;) {
        const uint8_t *comma = memchr(tags.data + at, ',', tags.size - at);
        size_t end = comma != NULL ? (size_t)(comma - tags.data) : tags.size;
        if (span_is(span_of(tags.data + at, end - at), tag))
            return true;
        at = end + 1;
    }
    return false;
}

/* The items: USER, then PERMISSION: key user, key vhost, texts configure, write, read. */
bool amqp_access_read(struct amqp_access *a, struct span items) {
    struct span patterns[AMQP_RIGHTS] = {{0}};
    struct reader all, item;
    reader_init(&all, items);
    bool administrator = has_tag(reader_bytes(&all));
    bool found = all.left > 0;
    if (found) {
        reader_init(&item, reader_bytes(&all));
        reader_take(&item, reader_u8(&item));
        reader_take(&item, reader_u8(&item));
        for (size_t i = 0; i < AMQP_RIGHTS; i++)
            patterns[i] = reader_bytes(&item);
    }
    amqp_access_set(a, patterns);
    a->administrator = administrator;
    return found;
}

static bool matches(struct right *p, struct span name) {
    if (p->state == NOT_COMPILED) {
        bool good = pattern_compile(span_text(p->text), &p->compiled) == 0;
        p->state = good ? COMPILED : NOTHING;
    }
    return p->state == COMPILED ? pattern_matches(p->compiled, name) : p->state == EVERYTHING;
}

bool amqp_access_allows(struct amqp_access *a, enum amqp_right right, struct span name) {
    struct right *p = &a->rights[right];
    if (p->state == EVERYTHING)
        return true;
    if (right != AMQP_WRITE)
        return matches(p, name);
    if (a->written.data != NULL && span_equal(a->written, name))
        return true;
    if (!matches(p, name))
        return false;
    uint8_t *copy = malloc(name.size + 1);
    if (copy != NULL) {
        memcpy(copy, name.data, name.size);
        free((void *)a->written.data);
        a->written = span_of(copy, name.size);
    }
    return true;
}

/* ---- the rights that an op needs ---- */

static bool may(struct amqp_access *a, struct amqp_op *op, enum amqp_right right, const char *what,
                struct span name) {
    if (amqp_access_allows(a, right, name))
        return true;
    amqp_op_refuse(op, AMQP_ACCESS_REFUSED,
                   "access to %s '%.*s' in vhost '%s' refused for user '%s'", what, SPAN_ARG(name),
                   a->vhost, a->user);
    return false;
}

static bool may_exchange(struct amqp_access *a, struct amqp_op *op, enum amqp_right right,
                         struct span name) {
    return may(a, op, right, "exchange", name.size > 0 ? name : span_text("amq.default"));
}

static bool may_queue(struct amqp_access *a, struct amqp_op *op, enum amqp_right right,
                      struct span name) {
    return may(a, op, right, "queue", name.size > 0 ? name : span_text(GENERATED_QUEUE));
}

static bool named(struct span arguments, const char *argument, struct span *ret) {
    struct amqp_field f;
    return amqp_table_find(arguments, argument, &f) && amqp_field_text(&f, ret);
}

static bool check_exchange_declare(struct amqp_access *a, struct amqp_op *op) {
    const struct amqp_exchange_declare *d = &op->method.as.exchange_declare;
    struct span other;
    if (d->passive)
        return true;
    if (!may_exchange(a, op, AMQP_CONFIGURE, d->exchange))
        return false;
    return !named(d->arguments, "alternate-exchange", &other) ||
           (may_exchange(a, op, AMQP_READ, d->exchange) && may_exchange(a, op, AMQP_WRITE, other));
}

static bool check_queue_declare(struct amqp_access *a, struct amqp_op *op) {
    const struct amqp_queue_declare *d = &op->method.as.queue_declare;
    struct span other;
    if (d->passive)
        return true;
    if (!may_queue(a, op, AMQP_CONFIGURE, d->queue))
        return false;
    return !named(d->arguments, "x-dead-letter-exchange", &other) ||
           (may_queue(a, op, AMQP_READ, d->queue) && may_exchange(a, op, AMQP_WRITE, other));
}

static bool check_method(struct amqp_access *a, struct amqp_op *op) {
    const struct amqp_method *m = &op->method;
    switch (m->id) {
    case AMQP_EXCHANGE_DECLARE:
        return check_exchange_declare(a, op);
    case AMQP_EXCHANGE_DELETE:
        return may_exchange(a, op, AMQP_CONFIGURE, m->as.exchange_delete.exchange);
    case AMQP_EXCHANGE_BIND:
        return may_exchange(a, op, AMQP_WRITE, m->as.exchange_bind.destination) &&
               may_exchange(a, op, AMQP_READ, m->as.exchange_bind.source);
    case AMQP_EXCHANGE_UNBIND:
        return may_exchange(a, op, AMQP_WRITE, m->as.exchange_unbind.destination) &&
               may_exchange(a, op, AMQP_READ, m->as.exchange_unbind.source);
    case AMQP_QUEUE_DECLARE:
        return check_queue_declare(a, op);
    case AMQP_QUEUE_BIND:
        return may_queue(a, op, AMQP_WRITE, m->as.queue_bind.queue) &&
               may_exchange(a, op, AMQP_READ, m->as.queue_bind.exchange);
    case AMQP_QUEUE_UNBIND:
        return may_queue(a, op, AMQP_WRITE, m->as.queue_unbind.queue) &&
               may_exchange(a, op, AMQP_READ, m->as.queue_unbind.exchange);
    case AMQP_QUEUE_PURGE:
        return may_queue(a, op, AMQP_READ, m->as.queue_purge.queue);
    case AMQP_QUEUE_DELETE:
        return may_queue(a, op, AMQP_CONFIGURE, m->as.queue_delete.queue);
    default:
        return true;
    }
}

void amqp_access_set_administrator(struct amqp_access *a) {
    a->administrator = true;
}

static bool check_publish(struct amqp_access *a, struct amqp_op *op, const struct amqp_publish *p) {
    if (!may_exchange(a, op, AMQP_WRITE, p->exchange))
        return false;
    if (!amqp_message_is_import(p) || a->administrator)
        return true;
    amqp_op_refuse(op, AMQP_ACCESS_REFUSED, "user '%s' is no administrator, and cannot import",
                   a->user);
    return false;
}

bool amqp_access_check(struct amqp_access *a, struct amqp_op *op) {
    switch (op->kind) {
    case AMQP_OP_METHOD:
        return check_method(a, op);
    case AMQP_OP_PUBLISH:
        return check_publish(a, op, &op->in.publish);
    case AMQP_OP_CONSUME:
        return may_queue(a, op, AMQP_READ, op->method.as.basic_consume.queue);
    case AMQP_OP_GET:
        return may_queue(a, op, AMQP_READ, op->method.as.basic_get.queue);
    case AMQP_OP_COMMIT:
        for (const struct amqp_op *p = op->in.commit.publishes; p != NULL; p = p->next) {
            if (!check_publish(a, op, &p->in.publish))
                return false;
        }
        return true;
    default:
        return true;
    }
}
