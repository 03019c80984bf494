#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/top_view.h"

static struct top_figures figures;

static int setup(void **state) {
    (void)state;
    top_figures_init(&figures, NULL);
    for (int i = 0; i < 300; i++) {
        json_t *json =
            json_pack("{s:f, s:i, s:[{s:s, s:b, s:i, s:i, s:i, s:i, s:{s:i, s:i}}]}", "uptime",
                      i * 0.25, "position", i * 1000000, "campaigns", "name", "giveaway", "open", 1,
                      "entries", i * i, "sent", i * 10, "left", 100000 - i * i, "total", 100000,
                      "refused", "sold-out", i * 1000, "already-claimed", i);
        top_figures_add(&figures, json, (uint64_t)i * NS_PER_SECOND / 4);
        json_decref(json);
    }
    return 0;
}

/* Walks the screen as a terminal would, which must never have to wrap or scroll. */
static void assert_fits(struct span text, int columns, int rows) {
    int column = 0, row = 1;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == 0x1b) {
            while (!(text.data[i] >= '@' && text.data[i] <= '~' && text.data[i] != '['))
                i++;
        } else if (c == '\n') {
            row++;
            column = 0;
        } else if (c != '\r' && (c & 0xc0) != 0x80) {
            column++;
        }
        assert_true(column <= columns);
        assert_true(row <= rows);
    }
}

/* Twelve of them, of which d0 has the least waiting; three have a trouble each. */
static int setup_destinations(void **state) {
    setup(state);
    json_t *list = json_array();
    for (int i = 0; i < 12; i++) {
        char name[8];
        snprintf(name, sizeof name, "d%d", i);
        json_t *d = json_pack("{s:s, s:i, s:i, s:b, s:f, s:s, s:s, s:i, s:i}", "name", name,
                              "waiting", i * 1000, "inFlight", 3, "paused", i == 11, "rate",
                              i == 10 ? 0.0 : 500.0, "breaker", i == 10 ? "open" : "closed",
                              "health", i == 8 ? "critical" : "healthy", "endpoints", 3,
                              "endpointsIn", i == 9 ? 2 : 3);
        assert_int_equal(json_array_append_new(list, d), 0);
    }
    json_t *json = json_pack("{s:o}", "destinations", list);
    top_figures_add(&figures, json, 1000 * NS_PER_SECOND);
    json_decref(json);
    return 0;
}

static void destinations_are_shown_by_what_waits(void **state) {
    (void)state;
    struct top_screen screen = {.columns = 120, .rows = 60, .url = "http://a.example"};
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_int_equal(figures.destination_count, TOP_DESTINATIONS);
    for (uint32_t i = 0; i < TOP_DESTINATIONS; i++)
        assert_int_equal(figures.destinations[i].waiting, (11 - i) * 1000);
    assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
    assert_int_equal(buffer_put_u8(&out, 0), 0);
    const char *text = (const char *)out.data;
    static const char *const lines[] = {
        "d11                     500     11,000          3   paused",
        "d10                       -     10,000          3   breaker open",
        "d9                      500      9,000          3   2 of 3 endpoints in",
        "d8                      500      8,000          3   critical",
        "d7                      500      7,000          3   ok",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        assert_non_null(strstr(text, lines[i]));
    }
    assert_null(strstr(text, " d3 "));
    buffer_release(&out);
}

static void a_screen_fits_whatever_its_size(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    for (int columns = 1; columns < 200; columns += 3)
        for (int rows = 1; rows < 60; rows++) {
            struct top_screen screen = {
                .columns = columns, .rows = rows, .colour = columns % 2, .url = "http://a.example"};
            strcpy(screen.notes[3], "something has happened, and it takes a long line to say it");
            buffer_clear(&out);
            assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
            assert_fits(buffer_span(&out), columns, rows);
        }
    buffer_release(&out);
}

static bool shows(const struct buffer *out, const char *text) {
    return memmem(out->data, out->size, text, strlen(text)) != NULL;
}

static void figures_are_readable(void **state) {
    (void)state;
    struct buffer out;
    struct top_screen screen = {.columns = 100, .rows = 40, .url = "http://a.example"};
    buffer_init(&out, 1 << 20);
    assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
    assert_true(shows(&out, "89,401")); /* entries */
    assert_true(shows(&out, "10,599")); /* left */
    assert_true(shows(&out, "sold-out"));
    assert_true(shows(&out, "299,000"));
    assert_true(shows(&out, "sent 2,990 of 100,000"));
    figures.connected = false;
    buffer_clear(&out);
    assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
    assert_true(shows(&out, "connecting"));
    figures.lost = true;
    buffer_clear(&out);
    assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
    assert_true(shows(&out, "no connection"));
    buffer_release(&out);
}

static void destinations_leave_room_for_what_happens(void **state) {
    (void)state;
    struct buffer out;
    struct top_screen screen = {.columns = 100, .rows = 24, .url = "http://a.example"};
    for (int i = 0; i < (int)TOP_NOTES_MAX; i++)
        snprintf(screen.notes[i], sizeof(screen.notes[i]), "note %d", i);
    buffer_init(&out, 1 << 20);
    assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
    assert_true(shows(&out, "note 0") && shows(&out, "note 3") && shows(&out, "q ends"));
    screen.rows = 29;
    buffer_clear(&out);
    assert_int_equal(top_view_draw(&figures, &screen, &out), 0);
    assert_true(shows(&out, "d11") && !shows(&out, "d5") && shows(&out, "q ends"));
    buffer_release(&out);
}

static void a_full_buffer_is_an_error_not_half_a_screen(void **state) {
    (void)state;
    struct buffer out;
    struct top_screen screen = {.columns = 100, .rows = 40, .url = "http://a.example"};
    buffer_init(&out, 200);
    assert_int_not_equal(top_view_draw(&figures, &screen, &out), 0);
    buffer_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_screen_fits_whatever_its_size, setup),
        cmocka_unit_test_setup(destinations_are_shown_by_what_waits, setup_destinations),
        cmocka_unit_test_setup(a_screen_fits_whatever_its_size, setup_destinations),
        cmocka_unit_test_setup(figures_are_readable, setup),
        cmocka_unit_test_setup(destinations_leave_room_for_what_happens, setup_destinations),
        cmocka_unit_test_setup(a_full_buffer_is_an_error_not_half_a_screen, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
