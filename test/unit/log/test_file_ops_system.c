#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const struct file_ops *const ops = &file_ops_system;
static char folder[64];

static const char *path_of(const char *name) {
    static char path[2][128];
    static int turn;
    turn = 1 - turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sluice-files-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void writes_reads_and_sizes(void **state) {
    (void)state;
    int file = ops->open(NULL, path_of("a"), O_RDWR | O_CREAT, 0600);
    assert_true(file >= 0);
    assert_true((fcntl(file, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(ops->write_at(NULL, file, "hello", 5, 3), 0);
    char bytes[16];
    assert_int_equal(ops->read_at(NULL, file, bytes, sizeof bytes, 0), 8);
    assert_memory_equal(bytes, "\0\0\0hello", 8);
    assert_int_equal(ops->read_at(NULL, file, bytes, sizeof bytes, 100), 0);
    uint64_t size = 0;
    assert_int_equal(ops->reserve(NULL, file, 0, 10000), 0);
    assert_int_equal(ops->size(NULL, file, &size), 0);
    assert_true(size == 10000);
    assert_int_equal(ops->truncate(NULL, file, 6), 0);
    assert_int_equal(ops->size(NULL, file, &size), 0);
    assert_true(size == 6);
    assert_int_equal(ops->flush(NULL, file), 0);
    assert_int_equal(ops->close(NULL, file), 0);
    assert_int_equal(ops->write_at(NULL, file, "x", 1, 0), -EBADF);
}

static void count_entry(void *argument, const char *name) {
    int *count = argument;
    assert_int_not_equal(name[0], '.');
    (*count)++;
}

static void names_come_and_go(void **state) {
    (void)state;
    int file = ops->open(NULL, path_of("a"), O_RDWR | O_CREAT, 0600), count = 0;
    assert_int_equal(ops->close(NULL, file), 0);
    assert_int_equal(ops->rename(NULL, path_of("a"), path_of("b")), 0);
    assert_int_equal(ops->open(NULL, path_of("a"), O_RDWR, 0), -ENOENT);
    assert_int_equal(ops->make_directory(NULL, path_of("d"), 0700), 0);
    assert_int_equal(ops->make_directory(NULL, path_of("d"), 0700), -EEXIST);
    assert_int_equal(ops->flush_directory(NULL, folder), 0);
    assert_int_equal(ops->flush_directory(NULL, path_of("none")), -ENOENT);
    assert_int_equal(ops->list(NULL, folder, count_entry, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(ops->unlink(NULL, path_of("b")), 0);
    assert_int_equal(ops->unlink(NULL, path_of("b")), -ENOENT);
    assert_int_equal(ops->list(NULL, path_of("none"), count_entry, &count), -ENOENT);
}

static void a_lock_holds_against_a_second_opening(void **state) {
    (void)state;
    int one = ops->open(NULL, path_of("lock"), O_RDWR | O_CREAT, 0600);
    int two = ops->open(NULL, path_of("lock"), O_RDWR, 0);
    assert_int_equal(ops->lock(NULL, one), 0);
    assert_int_equal(ops->lock(NULL, two), -EWOULDBLOCK);
    assert_int_equal(ops->close(NULL, one), 0);
    assert_int_equal(ops->lock(NULL, two), 0);
    assert_int_equal(ops->close(NULL, two), 0);
    uint64_t free_bytes = 0;
    assert_int_equal(ops->free_bytes(NULL, folder, &free_bytes), 0);
    assert_true(free_bytes > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_reads_and_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(names_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_holds_against_a_second_opening, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
