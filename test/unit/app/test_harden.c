/* Each test in a child, since what is given up does not come back. */
#include "app/harden.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

static char error_text[256];

/* Line of the first thing that is not so in the child, 0: all is. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__ & 0xff;                                                                \
    } while (0)

static void in_child(int (*body)(void)) {
    pid_t child = fork();
    if (child == 0) {
        _exit(body());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0) {
        fail_msg("line %d (mod 256)", WEXITSTATUS(status));
    }
}

static struct harden_options plain(void) {
    return (struct harden_options){.user = "", .data_directory = "/nonexistent"};
}

static int process_is_closed(void) {
    struct harden_options o = plain();
    struct rlimit core;
    EXPECT(harden_process(&o, error_text) == 0);
    EXPECT(umask(0) == 077);
    EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    EXPECT(SANITIZED || prctl(PR_GET_DUMPABLE) == 0);
    EXPECT(SANITIZED || (getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0));
    return 0;
}

static int dumps_are_kept(void) {
    struct harden_options o = plain();
    o.core_dumps = true;
    EXPECT(harden_process(&o, error_text) == 0);
    EXPECT(prctl(PR_GET_DUMPABLE) == 1);
    return 0;
}

static int unknown_user(void) {
    struct harden_options o = plain();
    o.user = "nobody-of-this-name";
    EXPECT(harden_process(&o, error_text) != 0);
    EXPECT(strstr(error_text, "nobody-of-this-name") != NULL);
    return 0;
}

static int becomes_another(void) {
    char folder[] = "/tmp/harden-XXXXXX", data[64];
    struct harden_options o = plain();
    struct stat s;
    EXPECT(mkdtemp(folder) != NULL && chmod(folder, 0755) == 0);
    snprintf(data, sizeof data, "%s/data", folder);
    o.user = "nobody";
    o.data_directory = data;
    const struct passwd *nobody = getpwnam("nobody");
    EXPECT(nobody != NULL);
    uid_t uid = nobody->pw_uid;
    EXPECT(harden_process(&o, error_text) == 0);
    EXPECT(getuid() == uid && geteuid() == uid && getgroups(0, NULL) == 0);
    EXPECT(setuid(0) != 0 && setgid(0) != 0);
    EXPECT(stat(data, &s) == 0 && s.st_uid == uid && (s.st_mode & 0777) == 0700);
    int file = openat(AT_FDCWD, data, O_RDONLY | O_DIRECTORY);
    EXPECT(file >= 0);
    EXPECT(rmdir(data) != 0); /* the folder above is root's */
    return 0;
}

static void *look_from_thread(void *arg) {
    (void)arg;
    errno = 0;
    long result = syscall(SYS_ptrace, 0, 0, 0, 0);
    return result == -1 && errno == EPERM ? arg : NULL;
}

static int calls_are_refused(void) {
    struct harden_options o = plain();
    const int *numbers;
    size_t count = harden_denied(&numbers);
    int mark = 1;
    pthread_t before, after;
    void *first, *second;
    EXPECT(harden_process(&o, error_text) == 0);
    EXPECT(harden_system_calls() == 0);
    for (size_t i = 0; i < count; i++) {
        errno = 0;
        EXPECT(syscall(numbers[i], -1, -1, -1, -1, -1, -1) == -1 && errno == EPERM);
    }
    EXPECT(pthread_create(&before, NULL, look_from_thread, &mark) == 0);
    EXPECT(pthread_create(&after, NULL, look_from_thread, &mark) == 0);
    EXPECT(pthread_join(before, &first) == 0 && pthread_join(after, &second) == 0);
    EXPECT(first == &mark && second == &mark);
    return 0;
}

/* Threads that are there already are held to it as well: a filter of one thread would be none. */
static volatile int go;
static void *look_when_told(void *arg) {
    while (!go) {
        usleep(1000);
    }
    return look_from_thread(arg);
}

static int threads_of_before(void) {
    struct harden_options o = plain();
    int mark = 1;
    pthread_t early;
    void *result;
    EXPECT(pthread_create(&early, NULL, look_when_told, &mark) == 0);
    EXPECT(harden_process(&o, error_text) == 0 && harden_system_calls() == 0);
    go = 1;
    EXPECT(pthread_join(early, &result) == 0 && result == &mark);
    return 0;
}

/* What the snapshot does: a child that lowers itself, closes what it has, writes a file. */
static int our_own_goes_on(void) {
    struct harden_options o = plain();
    int status;
    EXPECT(harden_process(&o, error_text) == 0 && harden_system_calls() == 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close_range(3, ~0u, 0);
        bool fine = setpriority(PRIO_PROCESS, 0, 19) == 0;
        char name[] = "/tmp/harden-XXXXXX";
        int file = mkstemp(name);
        fine = fine && file >= 0 && write(file, "x", 1) == 1 && fdatasync(file) == 0;
        unlink(name);
        _exit(fine ? 0 : 1);
    }
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

static void the_process(void **state) {
    (void)state;
    in_child(process_is_closed);
    in_child(dumps_are_kept);
    in_child(unknown_user);
}

static void another_user(void **state) {
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    in_child(becomes_another);
}

static void system_calls(void **state) {
    (void)state;
    if (SANITIZED) {
        skip();
    }
    in_child(calls_are_refused);
    in_child(threads_of_before);
    in_child(our_own_goes_on);
}

static void the_folder(void **state) {
    (void)state;
    char folder[] = "/tmp/harden-XXXXXX";
    struct stat s;
    assert_non_null(mkdtemp(folder));
    assert_false(harden_folder(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    assert_true(harden_folder(folder));
    assert_int_equal(stat(folder, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700);
    assert_false(harden_folder("/nonexistent/folder"));
    assert_int_equal(chmod(folder, 01777), 0); /* like /tmp */
    assert_false(harden_folder(folder));
    assert_int_equal(stat(folder, &s), 0);
    assert_int_equal(s.st_mode & 07777, 01777);
    rmdir(folder);
}

static void a_file_is_no_folder(void **state) {
    (void)state;
    char name[] = "/tmp/harden-XXXXXX";
    struct stat s;
    int file = mkstemp(name);
    assert_true(file >= 0 && fchmod(file, 0644) == 0);
    assert_false(harden_folder(name));
    assert_true(fstat(file, &s) == 0 && (s.st_mode & 0777) == 0644);
    close(file);
    unlink(name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_process),         cmocka_unit_test(another_user),
        cmocka_unit_test(system_calls),        cmocka_unit_test(the_folder),
        cmocka_unit_test(a_file_is_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
