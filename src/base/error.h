/*
 * base/error.h - the one table of error codes.
 *
 * Promise: every fallible function returns 0 or a negative code from this table and leaves its
 *          outputs untouched on failure.
 * Shape:   an X-macro gives the enum, the names and the texts; adding a row adds all three.
 * Use:     low layers return, the top logs once; error_text() is for people, error_name() for logs.
 */
#ifndef SLUICE_BASE_ERROR_H
#define SLUICE_BASE_ERROR_H

/* name, value, text. Values never change: they stand in logs and tests. */
#define ERROR_TABLE(X)                                                                             \
    X(NOMEM, 1, "out of memory")                                                                   \
    X(INVALID, 2, "invalid argument or malformed input")                                           \
    X(NOT_FOUND, 3, "not found")                                                                   \
    X(EXISTS, 4, "exists already")                                                                 \
    X(LIMIT, 5, "a limit was reached")                                                             \
    X(BUSY, 6, "busy, try again")                                                                  \
    X(STALE, 7, "the definition changed meanwhile")                                                \
    X(CONFLICT, 8, "in conflict with the present state")                                           \
    X(IO, 9, "input/output error")                                                                 \
    X(FULL, 10, "no space left")                                                                   \
    X(CORRUPT, 11, "stored data is corrupt")                                                       \
    X(TORN, 12, "record is incomplete")                                                            \
    X(END, 13, "end of data")                                                                      \
    X(LOCKED, 14, "in use by another process")                                                     \
    X(VERSION, 15, "written by a newer version")                                                   \
    X(CLOSED, 16, "closed")                                                                        \
    X(TIMEOUT, 17, "timed out")                                                                    \
    X(UNSUPPORTED, 18, "not supported")                                                            \
    X(DENIED, 19, "not permitted")                                                                 \
    X(TOO_LARGE, 20, "larger than allowed")

enum error {
#define X(name, value, text) E_##name = -(value),
    ERROR_TABLE(X)
#undef X
};

/* "E_NOMEM"; "E_UNKNOWN" for a number outside the table. Never NULL. */
const char *error_name(int code);
/* "out of memory"; never NULL. 0 is "no error". */
const char *error_text(int code);

#endif
