/*
 * A canvas is the buffer plus how much of the present line is used: canvas_text stops at the last
 * column and canvas_end_line at the last row, so that no caller needs to know the size. One code
 * point is one column here: only ASCII, block elements and dots are drawn.
 *
 * The first error is kept and makes all later calls do nothing; top_view_draw returns it.
 */
#include "cli/top_view.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"

#define LABEL_COLUMNS  16
#define FIGURE_COLUMNS 11
#define TEXT_MAX       512u

enum colour { PLAIN, DIM, BOLD, GREEN, BLUE, AMBER, RED };

static const char *const ESCAPES[] = {
    [PLAIN] = "\x1b[0m",       [DIM] = "\x1b[38;5;245m", [BOLD] = "\x1b[1m",
    [GREEN] = "\x1b[38;5;78m", [BLUE] = "\x1b[38;5;75m", [AMBER] = "\x1b[38;5;215m",
    [RED] = "\x1b[38;5;203m",
};

/* Eighths of a cell, from below. */
static const char *const LEVELS[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

struct canvas {
    const struct top_screen *screen;
    struct buffer *out;
    int column, row;
    int error;
};

/* ---- canvas ---- */

static void canvas_escape(struct canvas *c, const char *text) {
    if (c->error == 0)
        c->error = buffer_append_text(c->out, text);
}

static void canvas_colour(struct canvas *c, enum colour colour) {
    if (c->screen->colour)
        canvas_escape(c, ESCAPES[colour]);
}

static void canvas_text(struct canvas *c, const char *text) {
    if (c->row >= c->screen->rows)
        return;
    for (const char *at = text; *at != '\0' && c->error == 0; at++) {
        bool starts_character = ((unsigned char)*at & 0xc0) != 0x80;
        if (starts_character && c->column == c->screen->columns)
            return;
        c->column += starts_character;
        c->error = buffer_append(c->out, at, 1);
    }
}

static void canvas_put(struct canvas *c, enum colour colour, const char *format, ...)
    PRINTF_LIKE(3, 4);

static void canvas_put(struct canvas *c, enum colour colour, const char *format, ...) {
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    canvas_colour(c, colour);
    canvas_text(c, text);
    canvas_colour(c, PLAIN);
}

/* The rest of the line is wiped; the last row gets no line break, which would scroll. */
static void canvas_end_line(struct canvas *c) {
    if (c->row >= c->screen->rows)
        return;
    canvas_escape(c, c->row + 1 < c->screen->rows ? "\x1b[K\r\n" : "\x1b[K");
    c->column = 0;
    c->row++;
}

/* ---- numbers ---- */

/* "12,345,678" */
static const char *grouped(uint64_t n, char out[32]) {
    char digits[24];
    int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
    char *to = out;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

static void put_pair(struct canvas *c, const char *label, uint64_t n, enum colour colour) {
    char text[32];
    canvas_put(c, DIM, "%-*s", LABEL_COLUMNS, label);
    canvas_put(c, colour, "%*s", FIGURE_COLUMNS, grouped(n, text));
    canvas_text(c, "    ");
}

/* ---- lines ---- */

/* The first frame is drawn before anybody could have answered: that is no trouble yet. */
static const char *absence(const struct top_figures *f) {
    return f->lost ? "no connection, trying again" : "connecting";
}

static void draw_head(struct canvas *c, const struct top_figures *f) {
    canvas_put(c, BOLD, " sluice");
    canvas_put(c, DIM, "  %s  ", c->screen->url);
    if (!f->connected)
        canvas_put(c, f->lost ? RED : DIM, "● %s", absence(f));
    else
        canvas_put(c, GREEN, "● up %.0f s", f->uptime_s);
    if (f->restarts > 0)
        canvas_put(c, AMBER, "   came back %llu x", (unsigned long long)f->restarts);
    if (f->room[0] != '\0' && strcmp(f->room, "ok") != 0)
        canvas_put(c, RED, "   disk: %s", f->room);
    canvas_end_line(c);
    canvas_end_line(c);
}

static int cells(uint64_t part, uint64_t whole, int width) {
    return whole == 0 ? 0 : (int)((double)part / (double)whole * width + 0.5);
}

/* Sent, then won but not sent yet, then left: together the whole stock. */
static void draw_progress(struct canvas *c, const struct top_figures *f) {
    if (!f->has_campaign)
        return;
    char total[32], sent[32];
    canvas_put(c, BOLD, " %s  ", f->campaign);
    if (f->open)
        canvas_put(c, GREEN, "open");
    else
        canvas_put(c, AMBER, "opens %s", f->opens_at);
    canvas_put(c, DIM, "   sent %s of %s", grouped(f->sent, sent), grouped(f->total, total));
    canvas_end_line(c);
    int width = c->screen->columns - 8;
    int done = cells(f->sent, f->total, width);
    int given = cells(f->total > f->left ? f->total - f->left : 0, f->total, width);
    canvas_text(c, " ");
    for (int i = 0; i < width; i++)
        canvas_put(c,
                   i < done    ? GREEN
                   : i < given ? BLUE
                               : DIM,
                   "%s",
                   i < done    ? "█"
                   : i < given ? "▓"
                               : "░");
    canvas_put(c, BOLD, "%5.1f%%",
               f->total == 0 ? 0.0 : 100.0 * (double)f->sent / (double)f->total);
    canvas_end_line(c);
    canvas_end_line(c);
}

static void draw_spark(struct canvas *c, const struct top_figures *f, enum top_rate rate,
                       enum colour colour) {
    int width = c->screen->columns - c->column - 1;
    uint32_t kept = f->sample_count < TOP_HISTORY ? f->sample_count : TOP_HISTORY;
    uint32_t shown = width < 0 ? 0 : (uint32_t)width < kept ? (uint32_t)width : kept;
    double most = 1;
    for (uint32_t back = 1; back <= shown; back++) {
        double value = f->history[rate][(f->sample_count - back) % TOP_HISTORY];
        most = value > most ? value : most;
    }
    canvas_colour(c, colour);
    for (uint32_t back = shown; back > 0; back--) {
        double value = f->history[rate][(f->sample_count - back) % TOP_HISTORY];
        int level = value <= 0 ? 0 : 1 + (int)(value / most * 7);
        canvas_text(c, LEVELS[level]);
    }
    canvas_colour(c, PLAIN);
}

static void draw_rate(struct canvas *c, const struct top_figures *f, enum top_rate rate,
                      const char *label, enum colour colour) {
    char text[32];
    canvas_put(c, DIM, " %-*s", LABEL_COLUMNS, label);
    canvas_put(c, BOLD, "%*s  ", FIGURE_COLUMNS, grouped((uint64_t)(f->rates[rate] + 0.5), text));
    draw_spark(c, f, rate, colour);
    canvas_end_line(c);
}

static void draw_totals(struct canvas *c, const struct top_figures *f) {
    canvas_text(c, " ");
    put_pair(c, "accepted", f->has_campaign ? f->entries : top_total_value(&f->accepted), BOLD);
    put_pair(c, "waiting", f->ready + f->blocked + f->delayed, BLUE);
    canvas_end_line(c);
    canvas_text(c, " ");
    put_pair(c, "left in stock", f->left, f->left == 0 ? AMBER : BOLD);
    put_pair(c, "in flight", f->in_flight, PLAIN);
    canvas_end_line(c);
    canvas_text(c, " ");
    put_pair(c, "refused for good", f->failed, PLAIN);
    put_pair(c, "to be retried", f->delayed, PLAIN);
    canvas_end_line(c);
    canvas_end_line(c);
}

static void draw_reasons(struct canvas *c, const struct top_figures *f) {
    char text[32];
    uint64_t most = 1;
    for (uint32_t i = 0; i < f->reason_count; i++) {
        uint64_t value = top_total_value(&f->reasons[i].total);
        most = value > most ? value : most;
    }
    canvas_put(c, DIM, " turned away");
    canvas_end_line(c);
    for (uint32_t i = 0; i < f->reason_count; i++) {
        uint64_t value = top_total_value(&f->reasons[i].total);
        canvas_put(c, PLAIN, "   %-*s", LABEL_COLUMNS, f->reasons[i].name);
        canvas_put(c, BOLD, "%*s  ", FIGURE_COLUMNS, grouped(value, text));
        int width = cells(value, most, c->screen->columns - c->column - 1);
        canvas_colour(c, AMBER);
        for (int cell = 0; cell < width; cell++)
            canvas_text(c, "▆");
        canvas_colour(c, PLAIN);
        canvas_end_line(c);
    }
    canvas_end_line(c);
}

static void draw_provider(struct canvas *c, const struct top_figures *f) {
    char text[32], limit[32], seen[32], failed[32], refused[32], repeats[32];
    if (!f->has_provider) {
        canvas_put(c, DIM, " most attempts started in a second");
        canvas_put(c, BOLD, "  %s", grouped(f->most_started, text));
        canvas_end_line(c);
        return;
    }
    bool kept = f->provider_most <= f->provider_limit;
    canvas_put(c, DIM, " most that the provider saw in any second  ");
    canvas_put(c, kept ? GREEN : RED, "%s", grouped(f->provider_most, text));
    canvas_put(c, DIM, " of %s allowed", grouped(f->provider_limit, limit));
    canvas_end_line(c);
    canvas_put(c, DIM, " it saw %s, failed %s, refused %s, absorbed %s repeats",
               grouped(f->provider_seen, seen), grouped(f->provider_failed, failed),
               grouped(f->provider_refused, refused), grouped(f->provider_repeats, repeats));
    canvas_end_line(c);
}

/* What keeps it from sending, if anything does. */
static const char *trouble_of(const struct top_destination *d, char text[TOP_NAME_MAX + 16]) {
    if (d->paused)
        return "paused";
    if (d->breaker[0] != '\0' && strcmp(d->breaker, "closed") != 0)
        snprintf(text, TOP_NAME_MAX + 16, "breaker %s", d->breaker);
    else if (d->endpoints_in < d->endpoints)
        snprintf(text, TOP_NAME_MAX + 16, "%llu of %llu endpoints in",
                 (unsigned long long)d->endpoints_in, (unsigned long long)d->endpoints);
    else if (d->health[0] != '\0' && strcmp(d->health, "healthy") != 0)
        snprintf(text, TOP_NAME_MAX + 16, "%s", d->health);
    else
        return NULL;
    return text;
}

/* How many rows are left for destinations, with those below them: what was there first stays on a small screen. */
static int rows_for_destinations(const struct canvas *c, const struct top_figures *f) {
    int below = 1 + (int)f->reason_count + 1 + 2 + 1; /* reasons, server, the key that ends */
    for (uint32_t i = 0; i < TOP_NOTES_MAX; i++)
        below += c->screen->notes[i][0] != '\0';
    return c->screen->rows - c->row - below - 2; /* their head, and a blank */
}

static void draw_destinations(struct canvas *c, const struct top_figures *f) {
    char text[TOP_NAME_MAX + 16], rate[32], waiting[32], in_flight[32];
    int rows = rows_for_destinations(c, f);
    if (f->destination_count == 0 || rows <= 0)
        return;
    canvas_put(c, DIM, " %-*s%*s%*s%*s", LABEL_COLUMNS + 2, "destination", FIGURE_COLUMNS,
               "limit/s", FIGURE_COLUMNS, "waiting", FIGURE_COLUMNS, "in flight");
    canvas_end_line(c);
    for (uint32_t i = 0; i < f->destination_count && i < (uint32_t)rows; i++) {
        const struct top_destination *d = &f->destinations[i];
        const char *trouble = trouble_of(d, text);
        snprintf(rate, sizeof(rate), "%.4g", d->rate);
        canvas_put(c, PLAIN, "   %-*.*s", LABEL_COLUMNS, LABEL_COLUMNS, d->name);
        canvas_put(c, PLAIN, "%*s", FIGURE_COLUMNS, d->rate > 0 ? rate : "-");
        canvas_put(c, BLUE, "%*s", FIGURE_COLUMNS, grouped(d->waiting, waiting));
        canvas_put(c, PLAIN, "%*s", FIGURE_COLUMNS, grouped(d->in_flight, in_flight));
        canvas_put(c, trouble != NULL ? AMBER : GREEN, "   %s", trouble != NULL ? trouble : "ok");
        canvas_end_line(c);
    }
    canvas_end_line(c);
}

static void draw_server(struct canvas *c, const struct top_figures *f) {
    char position[32], connections[32];
    canvas_put(c, DIM,
               " position %s   connections %s   memory %.0f MiB   server p50 %.2f ms  p99 %.1f ms",
               grouped(f->position, position), grouped(f->connections, connections),
               (double)f->memory_bytes / (1 << 20), f->p50_s * 1e3, f->p99_s * 1e3);
    canvas_end_line(c);
    canvas_end_line(c);
}

static void draw_notes(struct canvas *c) {
    for (uint32_t i = 0; i < TOP_NOTES_MAX; i++) {
        if (c->screen->notes[i][0] == '\0')
            continue;
        canvas_put(c, i + 1 < TOP_NOTES_MAX ? DIM : AMBER, " > %s", c->screen->notes[i]);
        canvas_end_line(c);
    }
    canvas_put(c, DIM, " q ends");
    canvas_end_line(c);
}

int top_view_draw(const struct top_figures *f, const struct top_screen *s, struct buffer *out) {
    struct canvas c = {.screen = s, .out = out};
    canvas_escape(&c, "\x1b[H");
    draw_head(&c, f);
    draw_progress(&c, f);
    draw_rate(&c, f, TOP_ACCEPTED, "accepted/s", GREEN);
    draw_rate(&c, f, TOP_REFUSED, "turned away/s", AMBER);
    draw_rate(&c, f, TOP_SENT, "sent/s", BLUE);
    canvas_end_line(&c);
    draw_totals(&c, f);
    draw_provider(&c, f);
    canvas_end_line(&c);
    draw_destinations(&c, f);
    draw_reasons(&c, f);
    draw_server(&c, f);
    draw_notes(&c);
    canvas_escape(&c, "\x1b[J");
    return c.error;
}

int top_view_line(const struct top_figures *f, struct buffer *out) {
    if (!f->connected)
        return buffer_printf(out, "%s\n", absence(f));
    int rc = buffer_printf(
        out,
        "accepted %llu (%.0f/s)  turned away %llu (%.0f/s)  left %llu  waiting %llu  "
        "sent %llu (%.0f/s)",
        (unsigned long long)(f->has_campaign ? f->entries : top_total_value(&f->accepted)),
        f->rates[TOP_ACCEPTED], (unsigned long long)top_figures_refused(f), f->rates[TOP_REFUSED],
        (unsigned long long)f->left, (unsigned long long)(f->ready + f->blocked + f->delayed),
        (unsigned long long)f->sent, f->rates[TOP_SENT]);
    if (rc == 0 && f->has_provider)
        rc = buffer_printf(out, "  most in any second %llu", (unsigned long long)f->provider_most);
    return rc == 0 ? buffer_append_text(out, "\n") : rc;
}
