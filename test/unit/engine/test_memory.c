#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/memory.h"

#define MIB (1u << 20)

static void test_it_begins_above_and_ends_well_below(void **state) {
    assert_false(memory_is_short(false, 1600, 1600));
    assert_true(memory_is_short(false, 1601, 1600));
    assert_true(memory_is_short(true, 1501, 1600));
    assert_false(memory_is_short(true, 1500, 1600));
    assert_false(memory_is_short(false, UINT64_MAX, 0));
}

static void test_what_is_written_to_counts(void **state) {
    uint64_t before = memory_resident_bytes();
    assert_true(before > 0 && before < memory_available_bytes());
    char *block = malloc(64 * MIB);
    assert_non_null(block);
    memset(block, 1, 64 * MIB);
    uint64_t with = memory_resident_bytes();
    assert_true(block[MIB] == 1 && with > before + 60 * MIB);
    free(block);
}

static void write_max(const char *folder, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/memory.max", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* A limit on a slice holds for each service in it. */
static void test_the_least_of_all_groups(void **state) {
    char root[] = "/tmp/sluice-memory-XXXXXX", slice[64], service[128];
    assert_non_null(mkdtemp(root));
    snprintf(slice, sizeof slice, "%s/a.slice", root);
    snprintf(service, sizeof service, "%s/b.service", slice);
    assert_int_equal(mkdir(slice, 0700) | mkdir(service, 0700), 0);
    assert_true(memory_groups_max(root, "/a.slice/b.service") == UINT64_MAX);
    write_max(service, "max\n");
    assert_true(memory_groups_max(root, "/a.slice/b.service") == UINT64_MAX);
    write_max(slice, "3000\n");
    assert_int_equal(memory_groups_max(root, "/a.slice/b.service"), 3000);
    write_max(service, "2000\n");
    assert_int_equal(memory_groups_max(root, "/a.slice/b.service"), 2000);
    assert_int_equal(memory_groups_max(root, "/a.slice"), 3000);
    write_max(root, "1000\n"); /* in a container the root is its own group */
    assert_int_equal(memory_groups_max(root, "/"), 1000);
    assert_int_equal(memory_groups_max(root, ""), 1000);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

/* Looks four times a second for so long, with the same resident; how often it would have asked. */
static int asked(struct memory_slack *s, uint64_t *now_ns, uint64_t resident_bytes, int seconds) {
    int times = 0;
    for (int i = 0; i < 4 * seconds; i++) {
        *now_ns += NS_PER_SECOND / 4;
        times += memory_slack_due(s, resident_bytes, *now_ns);
    }
    return times;
}

static void test_what_a_flood_left_is_asked_for_when_it_is_over(void **state) {
    struct memory_slack s = {.look_at_ns = 0};
    uint64_t now_ns = 7;
    assert_int_equal(asked(&s, &now_ns, 50 * MIB, 100), 0); /* as it was at the start */
    for (uint64_t mib = 50; mib < 400; mib += 2)
        assert_int_equal(asked(&s, &now_ns, mib * MIB, 1), 0); /* it comes */
    assert_int_equal(asked(&s, &now_ns, 400 * MIB, 4), 0);
    assert_int_equal(asked(&s, &now_ns, 400 * MIB, 3), 1); /* calm */
    assert_int_equal(asked(&s, &now_ns, 400 * MIB, 25), 0);
    assert_int_equal(asked(&s, &now_ns, 400 * MIB, 300), 10); /* not free: asked seldom */
    memory_slack_gone(&s, 60 * MIB, now_ns);
    assert_int_equal(asked(&s, &now_ns, 60 * MIB, 1000), 0);
}

/* A flood every ten seconds keeps its memory for a minute. */
static void test_it_is_seldom_however_often_it_comes_back(void **state) {
    struct memory_slack s = {.look_at_ns = 0};
    uint64_t now_ns = 7;
    int times = 0;
    for (int round = 0; round < 60; round++) {
        assert_int_equal(asked(&s, &now_ns, 50 * MIB, 1), 0);
        if (asked(&s, &now_ns, 400 * MIB, 9) > 0) {
            memory_slack_gone(&s, 50 * MIB, now_ns);
            times++;
        }
    }
    assert_in_range(times, 8, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_begins_above_and_ends_well_below),
        cmocka_unit_test(test_what_is_written_to_counts),
        cmocka_unit_test(test_the_least_of_all_groups),
        cmocka_unit_test(test_what_a_flood_left_is_asked_for_when_it_is_over),
        cmocka_unit_test(test_it_is_seldom_however_often_it_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
