/*
 * base/logline.h - structured log lines, logfmt or JSON, one write(2) each.
 *
 *      struct logline line;
 *      logline_begin(&line, LOGLINE_INFO, "log opened");
 *      logline_text(&line, "folder", path);
 *      logline_u64(&line, "position", position);
 *      logline_end(&line);
 *
 *      time=2030-01-02T03:04:05.678Z level=info event="log opened" folder=data position=17
 *      {"time":"2030-01-02T03:04:05.678Z","level":"info","event":"log opened","folder":"data",...}
 *
 * Promise: a line is one line and well formed whatever bytes a value has: quotes, control characters
 *          and invalid UTF-8 are escaped. A value that does not fit is cut and ends in "...". Lines
 *          of several threads never mix.
 * Shape:   the line is built in the caller's storage; the three settings are made at start. Used by
 *          the top layers only: what lies lower returns errors.
 * Errors:  none; a line that cannot be written is lost.
 */
#ifndef SLUICE_BASE_LOGLINE_H
#define SLUICE_BASE_LOGLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define LOGLINE_MAX_BYTES 4096u

enum logline_level { LOGLINE_DEBUG, LOGLINE_INFO, LOGLINE_WARN, LOGLINE_ERROR };
enum logline_format { LOGLINE_LOGFMT, LOGLINE_JSON };

struct logline {
    char text[LOGLINE_MAX_BYTES];
    size_t size;
    enum logline_format format;
    bool wanted; /* level reached; else every call does nothing */
    bool full;   /* a value was cut: later ones are left out */
};

/* At start: info, logfmt, file 2. */
void logline_set_level(enum logline_level least);
void logline_set_format(enum logline_format format);
void logline_set_file(int file);
/* "debug", "info", "warn", "error". False when it is none of them. */
bool logline_level_parse(const char *name, enum logline_level *ret_level);
bool logline_wanted(enum logline_level level);

void logline_begin(struct logline *l, enum logline_level level, const char *event);
void logline_text(struct logline *l, const char *key, const char *value);
void logline_span(struct logline *l, const char *key, struct span value);
void logline_u64(struct logline *l, const char *key, uint64_t value);
void logline_i64(struct logline *l, const char *key, int64_t value);
void logline_bool(struct logline *l, const char *key, bool value);
/* ns, written in seconds with microseconds: 0.001250 */
void logline_duration(struct logline *l, const char *key, uint64_t ns);
/* error=E_IO reason="input/output error" */
void logline_error(struct logline *l, int code);
void logline_end(struct logline *l);

/* begin, then end: an event without values. */
void logline_event(enum logline_level level, const char *event);

#endif
