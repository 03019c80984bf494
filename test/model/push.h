/*
 * test/model/push.h - a world's queues pushing to destinations: short forms of what tests ask for.
 */
#ifndef SLUICE_TEST_MODEL_PUSH_H
#define SLUICE_TEST_MODEL_PUSH_H

#include "base/clock.h"
#include "model/destination.h"
#include "world.h"

/* 500 a second, burst 4, smooth. */
struct pace_def push_pace(uint32_t count, uint32_t burst);
enum refusal push_define_destination(struct world *w, const char *name, struct pace_def pace);
/* The same, with what `more` (may be NULL) changes in the definition. */
typedef void push_more(struct destination_def *def, void *context);
enum refusal push_define_more(struct world *w, const char *name, struct pace_def pace,
                              push_more *more, void *context);
/* retry NULL: the default. */
enum refusal push_define_queue(struct world *w, const char *name, const char *destination,
                               struct pace_def own, const struct retry_def *retry);
/* A request with only a name: GET, DELETE, PAUSE, ... */
enum refusal push_ask_name(struct world *w, enum request_kind kind, const char *name);
struct destination_info push_info(struct world *w, const char *name);
/* The id of the message. */
uint64_t push_publish(struct world *w, const char *queue);
/* One start at w->now_ns; false: none may start. */
bool push_start(struct world *w, struct attempt_start *ret);
/* The same in a record that is written anyway: also one whose turn is not near yet. */
bool push_start_ahead(struct world *w, struct attempt_start *ret);
/* status 0: no response, error ATTEMPT_CONNECT. */
void push_finish(struct world *w, const struct attempt_start *start, uint16_t status,
                 uint64_t retry_after_ns);
/* The same, answered after so long. */
void push_finish_after(struct world *w, const struct attempt_start *start, uint16_t status,
                       uint64_t duration_ns);
/* As after a restart; returns how many outcomes were unknown. */
uint32_t push_recover(struct world *w);
struct message_info push_message(struct world *w, uint64_t id);

#endif
