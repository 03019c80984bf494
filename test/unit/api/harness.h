/*
 * test/unit/api/harness.h - the API on a real engine and a real socket, for tests of the routes.
 *
 *      struct harness *h = harness_start(NULL);
 *      struct answer a;
 *      ask(h, &a, "PUT", "/v1/queues/q", "", "{}");
 *      assert_int_equal(a.status, 201);
 *      assert_string_equal(json_text(a.json, "name"), "q");
 *      answer_release(&a);
 *      harness_stop(h);
 *
 * Shape: one I/O loop on its own thread; the client is blocking and keeps one connection.
 */
#ifndef SLUICE_TEST_API_HARNESS_H
#define SLUICE_TEST_API_HARNESS_H

#include <jansson.h>

#include "api/api.h"

/* So lists of more messages are long ones: queue_list.c. */
#define HARNESS_LIST_LOOKS 40u

struct harness;

struct answer {
    int status;
    char *head;   /* owns: status line and fields */
    char *body;   /* owns, NUL-terminated */
    size_t size;  /* of the body */
    json_t *json; /* owns; NULL when the body is none */
};

/* changes: what differs from the defaults, engine left out; NULL: nothing. */
struct harness *harness_start(const struct api_options *changes);
void harness_stop(struct harness *h);
struct engine *harness_engine(struct harness *h);
uint16_t harness_port(const struct harness *h);

/* headers: complete lines, "X: y\r\n". body NULL: none. */
void ask(struct harness *h, struct answer *a, const char *method, const char *path,
         const char *headers, const char *body);
/* The same, and only the status is of interest. */
int ask_status(struct harness *h, const char *method, const char *path, const char *headers,
               const char *body);
/* Sends as it is and reads until `last` has come, for streams. Returns the size. */
size_t ask_raw(struct harness *h, const char *request, char *out, size_t size, const char *last);
void answer_release(struct answer *a);
/* Value of a field, or NULL; in static room. */
const char *answer_field(const struct answer *a, const char *name);

/* Members of an object; dots lead into nested ones. "" and -1 when they are not there. */
const json_t *json_at(const json_t *object, const char *path);
const char *json_text(const json_t *object, const char *path);
long long json_number(const json_t *object, const char *path);

#endif
