/*
 * base/list.h - intrusive doubly linked list.
 *
 *     struct waiter { struct list_node node; int n; };
 *     struct list waiters;
 *     list_init(&waiters);
 *     list_append(&waiters, &w->node);
 *     struct list_node *n = list_first(&waiters);         NULL when empty
 *     struct waiter *w = CONTAINER_OF(n, struct waiter, node);
 *
 * Shape: a ring through the head; a node is in at most one list; an unlinked node has next == NULL.
 */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next; /* link */
    struct list_node *prev; /* link */
};

struct list {
    struct list_node head;
};

static inline void list_init(struct list *l) {
    l->head.next = l->head.prev = &l->head;
}
static inline bool list_empty(const struct list *l) {
    return l->head.next == &l->head;
}
static inline struct list_node *list_first(const struct list *l) {
    return list_empty(l) ? NULL : l->head.next;
}
static inline struct list_node *list_next(const struct list *l, const struct list_node *n) {
    return n->next == &l->head ? NULL : n->next;
}
static inline bool list_linked(const struct list_node *n) {
    return n->next != NULL;
}
static inline void list_insert_before(struct list_node *at, struct list_node *n) {
    assert(!list_linked(n));
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
}
static inline void list_append(struct list *l, struct list_node *n) {
    list_insert_before(&l->head, n);
}
static inline void list_prepend(struct list *l, struct list_node *n) {
    list_insert_before(l->head.next, n);
}
static inline void list_remove(struct list_node *n) {
    assert(list_linked(n));
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
}
static inline struct list_node *list_pop(struct list *l) {
    struct list_node *n = list_first(l);
    if (n != NULL)
        list_remove(n);
    return n;
}

#endif
