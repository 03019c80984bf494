/*
 * cli/top_view.h - draws the figures of `sluice top` as text with ANSI escapes.
 *
 * Promise: never wider than `columns` characters nor longer than `rows` lines, whatever their size;
 *          the more important lines come first. No state: the same input draws the same screen.
 */
#ifndef SLUICE_CLI_TOP_VIEW_H
#define SLUICE_CLI_TOP_VIEW_H

#include "base/buffer.h"
#include "cli/top_figures.h"

#define TOP_NOTES_MAX 4u
#define TOP_NOTE_MAX  160u

struct top_screen {
    int columns, rows;
    bool colour;
    const char *url;                         /* borrows */
    char notes[TOP_NOTES_MAX][TOP_NOTE_MAX]; /* newest last; "" is none */
};

/* A whole screen, from the top left corner. E_NOMEM, E_LIMIT. */
MUST_CHECK int top_view_draw(const struct top_figures *f, const struct top_screen *s,
                             struct buffer *out);
/* One line without escapes, for output that is no terminal. E_NOMEM, E_LIMIT. */
MUST_CHECK int top_view_line(const struct top_figures *f, struct buffer *out);

#endif
