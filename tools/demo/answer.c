#include "answer.h"

#include <jansson.h>
#include <stdio.h>

static const struct {
    const char *name;
    bool again;
} KINDS[ANSWER_KINDS] = {
#define X(name, text, again) {text, again},
    ANSWER_TABLE(X)
#undef X
};

const char *answer_name(enum answer_kind kind) {
    return KINDS[kind].name;
}

bool answer_ask_again(enum answer_kind kind) {
    return KINDS[kind].again;
}

static enum answer_kind kind_of(int status, const char *type) {
    if (status == 202 || status == 200 || status == 201)
        return ANSWER_WON;
    if (status == 409 && strcmp(type, "already-claimed") == 0)
        return ANSWER_CLAIMED;
    if (status == 410)
        return strcmp(type, "sold-out") == 0 ? ANSWER_SOLD_OUT : ANSWER_CLOSED;
    if (status == 425)
        return ANSWER_EARLY;
    return status == 429 || status >= 500 ? ANSWER_BUSY : ANSWER_OTHER;
}

/* A tab or a line break would end the field in the ledger; the server sends neither. */
static void text_copy(char out[ANSWER_TEXT_MAX], const char *text) {
    snprintf(out, ANSWER_TEXT_MAX, "%s", text == NULL ? "" : text);
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ')
            *c = '?';
}

static void type_read(const json_t *body, char out[ANSWER_TEXT_MAX]) {
    const char *type = json_string_value(json_object_get(body, "type"));
    const char *slash = type == NULL ? NULL : strrchr(type, '/');
    const char *colon = type == NULL ? NULL : strrchr(type, ':');
    const char *last = slash != NULL ? slash + 1 : colon != NULL ? colon + 1 : type;
    text_copy(out, last);
}

static void receipt_read(const json_t *body, struct answer *ret) {
    const json_t *receipt = json_object_get(body, "receipt");
    const json_t *holder = json_is_object(receipt) ? receipt : body;
    const json_t *id = json_is_string(receipt) ? receipt : json_object_get(holder, "receipt");
    if (id == NULL)
        id = json_object_get(holder, "id");
    text_copy(ret->receipt, json_string_value(id));
    ret->number = json_integer_value(json_object_get(holder, "number"));
}

void answer_read(int status, struct span body, struct answer *ret) {
    *ret = (struct answer){.status = status};
    json_t *json = json_loadb((const char *)body.data, body.size, 0, NULL);
    type_read(json, ret->type);
    ret->kind = kind_of(status, ret->type);
    if (ret->kind == ANSWER_WON || ret->kind == ANSWER_CLAIMED)
        receipt_read(json, ret);
    json_decref(json);
}
