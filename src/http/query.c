#include "http/query.h"

#include "base/error.h"
#include "http/percent.h"

void query_walk_init(struct query_walk *w, struct span query) {
    w->left = query;
}

/* The next piece between ampersands; false at the end. */
static bool next_piece(struct query_walk *w, struct span *ret_piece) {
    while (w->left.size > 0) {
        const uint8_t *mark = memchr(w->left.data, '&', w->left.size);
        size_t size = mark == NULL ? w->left.size : (size_t)(mark - w->left.data);
        size_t step = mark == NULL ? size : size + 1;
        *ret_piece = span_of(w->left.data, size);
        w->left = span_of(w->left.data + step, w->left.size - step);
        if (size > 0)
            return true;
    }
    return false;
}

int query_next(struct query_walk *w, struct query_parameter *ret_parameter) {
    struct span piece;
    if (!next_piece(w, &piece))
        return E_END;
    const uint8_t *mark = memchr(piece.data, '=', piece.size);
    size_t name_size = mark == NULL ? piece.size : (size_t)(mark - piece.data);
    struct span value = span_of(piece.data + piece.size, 0);
    if (mark != NULL)
        value = span_of(mark + 1, piece.size - name_size - 1);
    if (name_size == 0)
        return E_INVALID;
    size_t name_used, value_used;
    int rc = percent_decode(span_of(piece.data, name_size), PERCENT_QUERY, w->name, sizeof w->name,
                            &name_used);
    if (rc == 0)
        rc = percent_decode(value, PERCENT_QUERY, w->value, sizeof w->value, &value_used);
    if (rc != 0)
        return rc;
    ret_parameter->name = span_of(w->name, name_used);
    ret_parameter->value = span_of(w->value, value_used);
    return 0;
}

int query_find(struct span query, const char *name, char *out, size_t size,
               struct span *ret_value) {
    struct query_walk w;
    struct query_parameter p;
    bool found = false;
    size_t used = 0;
    int rc;
    query_walk_init(&w, query);
    while ((rc = query_next(&w, &p)) == 0) {
        if (!span_is(p.name, name))
            continue;
        if (found)
            return E_EXISTS;
        if (p.value.size > size)
            return E_TOO_LARGE;
        memcpy(out, p.value.data, p.value.size);
        used = p.value.size;
        found = true;
    }
    if (rc != E_END)
        return rc;
    if (!found)
        return E_NOT_FOUND;
    *ret_value = span_of(out, used);
    return 0;
}
