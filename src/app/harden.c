#include "app/harden.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

static int fail(char error_text[256], int error, const char *what, const char *which) {
    snprintf(error_text, 256, "%s%s%.80s: %s", what, which[0] != '\0' ? " " : "", which,
             errno != 0 ? strerror(errno) : "not possible");
    return error;
}

/* ---- another user ---- */

static int find_user(const char *name, struct passwd *ret, char *room, size_t size) {
    struct passwd *found = NULL;
    errno = getpwnam_r(name, ret, room, size, &found);
    if (found == NULL) {
        errno = errno != 0 ? errno : ENOENT;
        return E_NOT_FOUND;
    }
    return 0;
}

/* What a later exec or a file with capabilities could bring back. */
static void drop_bounds(void) {
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability) != 0) {
            return; /* the new user has none of them, and no_new_privs holds */
        }
    }
}

static int become(const struct passwd *user, const char *data_directory) {
    if (mkdir(data_directory, 0700) == 0 &&
        chown(data_directory, user->pw_uid, user->pw_gid) != 0) {
        return E_IO;
    }
    drop_bounds();
    if (setgroups(0, NULL) != 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0) {
        return E_IO;
    }
    errno = 0;
    bool back = user->pw_uid != 0 && setuid(0) == 0;
    return back ? E_IO : 0;
}

static int change_user(const struct harden_options *o, char error_text[256]) {
    struct passwd user;
    char room[4096];
    int error = find_user(o->user, &user, room, sizeof room);
    if (error != 0 && errno == ENOENT) {
        snprintf(error_text, 256, "user: there is no %.80s on this machine", o->user);
        return E_INVALID;
    }
    if (error != 0) {
        return fail(error_text, E_INVALID, "user", o->user);
    }
    if (geteuid() == user.pw_uid && getuid() == user.pw_uid) {
        return 0;
    }
    error = become(&user, o->data_directory);
    return error != 0 ? fail(error_text, error, "cannot become user", o->user) : 0;
}

/* ---- the process ---- */

static int refuse_dumps(char error_text[256]) {
    const struct rlimit none = {0, 0};
    if (SANITIZED) {
        return 0;
    }
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return fail(error_text, E_IO, "cannot do without core dumps", "");
    }
    return 0;
}

int harden_process(const struct harden_options *options, char error_text[256]) {
    umask(077);
    errno = 0;
    if (options->user[0] != '\0') {
        int error = change_user(options, error_text);
        if (error != 0) {
            return error;
        }
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail(error_text, E_IO, "no_new_privs", "");
    }
    /* After the change of user, which the kernel answers by its own choice of this. */
    return options->core_dumps ? 0 : refuse_dumps(error_text);
}

bool harden_folder(const char *path) {
    struct stat s;
    if (stat(path, &s) != 0 || (s.st_mode & 077) == 0) {
        return false;
    }
    /* `--data /tmp` or the name of a file, given by root: not ours to close. What is made within is for its owner alone. */
    if (!S_ISDIR(s.st_mode) || (s.st_mode & S_ISVTX) != 0) {
        return false;
    }
    return chmod(path, s.st_mode & 0700) == 0;
}

/* ---- system calls ---- */

/*
 * What takes a break-in further: other programs, other processes, the kernel, mounts, clocks, users. A list of
 * what is refused, not of what is allowed: libraries of a later release that use some harmless call which
 * nobody thought of go on working.
 */
static const int denied[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_personality,
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_syslog,
    SYS_vhangup,
    SYS_fanotify_init,
    SYS_mknodat,
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_capset,
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
#endif
#ifdef SYS_open_tree
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsmount,
#endif
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_mknod,
#endif
};

size_t harden_denied(const int **ret_numbers) {
    *ret_numbers = denied;
    return ARRAY_LENGTH(denied);
}

#if defined(__x86_64__)
#define FILTER_ARCH    AUDIT_ARCH_X86_64
#define FOREIGN_NUMBER 0x40000000u /* x32: other numbers for the same calls */
#elif defined(__aarch64__)
#define FILTER_ARCH    AUDIT_ARCH_AARCH64
#define FOREIGN_NUMBER UINT32_MAX
#endif

#ifdef FILTER_ARCH
/* arch and foreign numbers, one comparison a call, allow, deny. A jump reaches 255 instructions. */
#define FILTER_SIZE (6 + ARRAY_LENGTH(denied))
_Static_assert(FILTER_SIZE < 255, "jumps are 8 bits");

static void build(struct sock_filter out[FILTER_SIZE]) {
    const size_t deny = FILTER_SIZE - 1, last = ARRAY_LENGTH(denied);
    size_t at = 0;
    out[at++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    out[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 0,
                                           (uint8_t)(deny - at - 1));
    at++;
    out[at++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    out[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN_NUMBER,
                                           (uint8_t)(deny - at - 1), 0);
    at++;
    for (size_t i = 0; i < last; i++, at++) {
        out[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)denied[i],
                                               (uint8_t)(deny - at - 1), 0);
    }
    out[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    out[at] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
}

int harden_system_calls(void) {
    if (SANITIZED) {
        return 0;
    }
    struct sock_filter filter[FILTER_SIZE];
    build(filter);
    const struct sock_fprog program = {.len = FILTER_SIZE, .filter = filter};
    /* For all threads there are; those made later inherit it. */
    unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0 ? 0 : E_UNSUPPORTED;
}
#else
int harden_system_calls(void) {
    return E_UNSUPPORTED;
}
#endif
