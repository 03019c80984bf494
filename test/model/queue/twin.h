/*
 * test/model/queue/twin.h - queues as one would write them without a thought for speed: arrays and
 * loops. What the model does is told to the twin, which says what it must look like then.
 */
#ifndef SLUICE_TEST_MODEL_QUEUE_TWIN_H
#define SLUICE_TEST_MODEL_QUEUE_TWIN_H

#include "model/request.h"

#define TWIN_QUEUES   4u
#define TWIN_LEVELS   4u
#define TWIN_KEYS     5u /* 0: no key */
#define TWIN_MESSAGES 4096u

struct twin_message {
    uint64_t id;
    uint32_t queue, key, attempts;
    enum message_state state;
    uint8_t priority;
    uint32_t body_bytes;
    uint64_t due_ns, expires_ns;
    enum dead_reason reason;
};

/* Ids in order. */
struct twin_list {
    uint64_t ids[TWIN_MESSAGES];
    uint32_t count;
};

struct twin_queue {
    bool paused, dead_letters;
    uint64_t max_dead, max_messages, ttl_ns;
    struct twin_list ready[TWIN_LEVELS], delayed, dead;
    struct twin_list blocked[TWIN_KEYS];
    uint64_t holder[TWIN_KEYS]; /* id, 0: none */
};

struct twin {
    struct twin_message messages[TWIN_MESSAGES];
    uint32_t count;
    struct twin_queue queues[TWIN_QUEUES];
    uint64_t gone; /* how many ended */
};

struct twin_message *twin_find(struct twin *t, uint64_t id);
uint64_t twin_waiting(const struct twin *t, uint32_t queue);
void twin_put(struct twin *t, const struct twin_message *m, uint64_t now_ns);
/* The next to leave; 0: none. */
uint64_t twin_head(const struct twin *t, uint32_t queue);
void twin_start(struct twin *t, uint64_t id);
void twin_done(struct twin *t, uint64_t id);
void twin_retry(struct twin *t, uint64_t id, uint64_t due_ns, uint64_t now_ns);
void twin_bury(struct twin *t, uint64_t id, enum dead_reason reason);
void twin_delete(struct twin *t, uint64_t id);
void twin_redrive(struct twin *t, uint64_t id, uint64_t now_ns);
/* By people; it must not be in flight. */
void twin_edit(struct twin *t, uint64_t id, uint32_t body_bytes, uint8_t priority);
void twin_move(struct twin *t, uint64_t id, uint32_t queue, uint64_t now_ns);
/* state 0: all but in flight. Returns how many went. */
uint32_t twin_purge(struct twin *t, uint32_t queue, enum message_state state);
void twin_trim_dead(struct twin *t, uint32_t queue);
/* Everything that is due, the earliest first. Returns how many timers there were. */
uint32_t twin_run_timers(struct twin *t, uint64_t now_ns);

#endif
