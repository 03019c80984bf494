/*
 * The patterns as a tree of segments.
 *
 *     "/v1/queues/{q}:pause"   root ─"v1"─► node ─"queues"─► node ─{}─► node: ends "" and "pause"
 *
 * A node has literal children, at most one capture child, and ends: what the path may end with here,
 * which is nothing ("") or a verb, each with the routes of its methods. Matching walks down once,
 * literal before capture, without going back: a table in which that would matter has two patterns
 * that overlap, such as "/a/{x}/c" beside "/a/b/d", and the literal way is the one that counts.
 */
#include "http/router.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "http/percent.h"

#define METHODS  7u
#define NO_ROUTE UINT16_MAX

static const char *const METHOD_NAMES[METHODS] = {"GET",   "HEAD",   "POST",   "PUT",
                                                  "PATCH", "DELETE", "OPTIONS"};

struct end {
    struct end *next; /* owns */
    struct span verb; /* borrows the pattern; empty: none */
    uint16_t routes[METHODS];
};

struct node {
    struct node *next;     /* owns: sibling */
    struct node *children; /* owns: literals */
    struct node *capture;  /* owns */
    struct span literal;   /* borrows the pattern */
    struct end *ends;      /* owns */
    bool has_verbs;
};

struct http_router {
    struct node root;
};

/* ---- segments ---- */

/* Splits off the segment that starts after the '/' at the front of *left. */
static struct span next_segment(struct span *left) {
    assert(left->size > 0 && left->data[0] == '/');
    const uint8_t *start = left->data + 1;
    size_t rest = left->size - 1;
    const uint8_t *slash = memchr(start, '/', rest);
    size_t size = slash == NULL ? rest : (size_t)(slash - start);
    *left = span_of(start + size, rest - size);
    return span_of(start, size);
}

static bool split_verb(struct span *segment, struct span *ret_verb) {
    const uint8_t *colon = memrchr(segment->data, ':', segment->size);
    if (colon == NULL)
        return false;
    size_t size = (size_t)(colon - segment->data);
    *ret_verb = span_of(colon + 1, segment->size - size - 1);
    *segment = span_of(segment->data, size);
    return true;
}

/* ---- making the tree ---- */

static struct node *find_literal(const struct node *n, struct span literal) {
    for (struct node *child = n->children; child != NULL; child = child->next) {
        if (span_equal(child->literal, literal))
            return child;
    }
    return NULL;
}

static struct end *find_end(const struct node *n, struct span verb) {
    for (struct end *e = n->ends; e != NULL; e = e->next) {
        if (span_equal(e->verb, verb))
            return e;
    }
    return NULL;
}

static struct node *add_literal(struct node *n, struct span literal) {
    struct node *child = find_literal(n, literal);
    if (child != NULL)
        return child;
    child = calloc(1, sizeof *child);
    if (child == NULL)
        return NULL;
    child->literal = literal;
    child->next = n->children;
    n->children = child;
    return child;
}

static int add_segment(struct node **n, struct span segment, size_t *captures) {
    bool capture =
        segment.size > 2 && segment.data[0] == '{' && segment.data[segment.size - 1] == '}';
    bool braces = memchr(segment.data, '{', segment.size) != NULL ||
                  memchr(segment.data, '}', segment.size) != NULL;
    if (segment.size == 0 || (braces && !capture))
        return E_INVALID;
    if (!capture) {
        *n = add_literal(*n, segment);
        return *n == NULL ? E_NOMEM : 0;
    }
    if (++*captures > HTTP_CAPTURES)
        return E_LIMIT;
    if ((*n)->capture == NULL)
        (*n)->capture = calloc(1, sizeof *(*n)->capture);
    *n = (*n)->capture;
    return *n == NULL ? E_NOMEM : 0;
}

static int add_end(struct node *n, struct span verb, enum http_method method, size_t route) {
    struct end *e = find_end(n, verb);
    if (e == NULL) {
        e = calloc(1, sizeof *e);
        if (e == NULL)
            return E_NOMEM;
        e->verb = verb;
        for (size_t i = 0; i < METHODS; i++)
            e->routes[i] = NO_ROUTE;
        e->next = n->ends;
        n->ends = e;
    }
    if (e->routes[method] != NO_ROUTE)
        return E_INVALID;
    e->routes[method] = (uint16_t)route;
    n->has_verbs = n->has_verbs || verb.size > 0;
    return 0;
}

static int add_route(struct http_router *r, const struct http_route *route, size_t index) {
    struct span left = span_text(route->pattern);
    struct span verb = span_of(NULL, 0);
    struct node *n = &r->root;
    size_t captures = 0;
    if (left.size == 0 || left.data[0] != '/')
        return E_INVALID;
    if (left.size == 1)
        return add_end(n, verb, route->method, index);
    while (left.size > 0) {
        struct span segment = next_segment(&left);
        if (left.size == 0 && split_verb(&segment, &verb) && verb.size == 0)
            return E_INVALID;
        int rc = add_segment(&n, segment, &captures);
        if (rc != 0)
            return rc;
    }
    return add_end(n, verb, route->method, index);
}

static void release_node(struct node *n) {
    while (n->ends != NULL) {
        struct end *e = n->ends;
        n->ends = e->next;
        free(e);
    }
    while (n->children != NULL) {
        struct node *child = n->children;
        n->children = child->next;
        release_node(child); /* as deep as the longest pattern */
        free(child);
    }
    if (n->capture != NULL)
        release_node(n->capture);
    free(n->capture);
}

int http_router_create(const struct http_route *routes, size_t count, size_t *ret_bad,
                       struct http_router **ret_router) {
    *ret_bad = 0;
    if (count > HTTP_ROUTE_COUNT)
        return E_LIMIT;
    struct http_router *r = calloc(1, sizeof *r);
    if (r == NULL)
        return E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        int rc = add_route(r, &routes[i], i);
        if (rc != 0) {
            *ret_bad = i;
            http_router_free(r);
            return rc;
        }
    }
    *ret_router = r;
    return 0;
}

void http_router_free(struct http_router *r) {
    if (r == NULL)
        return;
    release_node(&r->root);
    free(r);
}

/* ---- matching ---- */

static int capture_name(struct http_match *m, struct span raw) {
    assert(m->capture_count < HTTP_CAPTURES);
    char *name = m->names[m->capture_count];
    size_t size;
    int rc = percent_decode(raw, PERCENT_PATH, name, HTTP_NAME_BYTES, &size);
    if (rc != 0)
        return rc;
    struct span decoded = span_of(name, size);
    if (size == 0 || span_is(decoded, ".") || span_is(decoded, ".."))
        return size == 0 ? E_NOT_FOUND : E_INVALID;
    m->captures[m->capture_count++] = decoded;
    return 0;
}

static const struct node *child_of(const struct node *n, struct span segment) {
    const struct node *child = find_literal(n, segment);
    return child != NULL ? child : n->capture;
}

/*
 * Takes the verb off the last segment, when what is before it leads to a node that has verbs. A
 * literal with a colon of its own goes first.
 */
static int take_verb(const struct node *n, struct span *segment, struct span *ret_verb) {
    struct span name = *segment, verb;
    if (find_literal(n, *segment) != NULL || !split_verb(&name, &verb))
        return 0;
    const struct node *child = child_of(n, name);
    if (child == NULL || !child->has_verbs)
        return 0;
    *segment = name;
    *ret_verb = verb;
    return verb.size == 0 ? E_NOT_FOUND : 0;
}

static int step(const struct node **n, struct span segment, struct http_match *m) {
    const struct node *child = child_of(*n, segment);
    if (child == NULL)
        return E_NOT_FOUND;
    bool captured = child == (*n)->capture;
    *n = child;
    return captured ? capture_name(m, segment) : 0;
}

static void list_methods(const struct end *e, struct http_match *m) {
    size_t used = 0;
    m->allow[0] = '\0';
    for (size_t i = 0; i < METHODS; i++) {
        bool served =
            e->routes[i] != NO_ROUTE || (i == HTTP_HEAD_ && e->routes[HTTP_GET_] != NO_ROUTE);
        if (!served)
            continue;
        int size = snprintf(m->allow + used, sizeof m->allow - used, "%s%s", used > 0 ? ", " : "",
                            METHOD_NAMES[i]);
        used += (size_t)size;
        assert(used < sizeof m->allow);
    }
}

static int choose_route(const struct end *e, enum http_method method, struct http_match *m) {
    uint16_t route = e->routes[method];
    if (route == NO_ROUTE && method == HTTP_HEAD_)
        route = e->routes[HTTP_GET_];
    if (route == NO_ROUTE) {
        list_methods(e, m);
        return E_UNSUPPORTED;
    }
    m->route = route;
    return 0;
}

int http_router_match(const struct http_router *r, enum http_method method, struct span path,
                      struct http_match *ret_match) {
    const struct node *n = &r->root;
    struct span verb = span_of(NULL, 0);
    ret_match->capture_count = 0;
    if (path.size == 0 || path.data[0] != '/')
        return E_NOT_FOUND;
    if (path.size > 1) {
        while (path.size > 0) {
            struct span segment = next_segment(&path);
            int rc = path.size == 0 ? take_verb(n, &segment, &verb) : 0;
            if (rc == 0)
                rc = step(&n, segment, ret_match);
            if (rc != 0)
                return rc;
        }
    }
    const struct end *e = find_end(n, verb);
    return e == NULL ? E_NOT_FOUND : choose_route(e, method, ret_match);
}
