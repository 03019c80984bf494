/*
 * api/info.h - the counters of the engine's answers as JSON members. Internal to api/.
 */
#ifndef SLUICE_API_INFO_H
#define SLUICE_API_INFO_H

#include "api/definitions.h"
#include "api/json_out.h"

/* "stats": {...}, from the *_info struct of that kind of definition. E_CORRUPT: not its size. */
MUST_CHECK int info_write_stats(enum definition_kind kind, struct span info, struct json_out *out);
/* Members of one listed message. */
void info_write_message(const struct message_info *m, struct json_out *out);
/* "held", "final", "cancelled"; "accepted", "sent", "failed". */
const char *reservation_state_name(enum reservation_state s);
const char *entry_state_name(enum entry_state s);

/* "key": value for short. */
void info_u64(struct json_out *out, const char *key, uint64_t value);
void info_bool(struct json_out *out, const char *key, bool value);
void info_text(struct json_out *out, const char *key, const char *value);
void info_span(struct json_out *out, const char *key, struct span value);
/* Left out when 0. */
void info_time(struct json_out *out, const char *key, uint64_t ns);
/* When it may leave, and what must be done first. */
void info_eta(struct json_out *out, const struct eta *eta);
void info_receipt(struct json_out *out, const char *key, uint64_t id);

#endif
