/*
 * app/harden.h - the process gives up what it does not need, so that whoever breaks it gets little.
 *
 * Promise: harden_process, before any thread is made: new files are for the user alone, no core dump, no
 *          debugger of the same user, no more privileges by exec, and another user when told so.
 *          harden_system_calls, when all is open: execve, ptrace, mount, module loading, keys, bpf and the like
 *          end with EPERM in every thread and every child. What the program itself does goes on as before.
 * Limits:  built with a sanitizer it leaves dumps and system calls alone, which that needs.
 */
#ifndef SLUICE_APP_HARDEN_H
#define SLUICE_APP_HARDEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct harden_options {
    const char *user;           /* empty: stay who we are */
    const char *data_directory; /* made for `user` if it is not there */
    bool core_dumps;
};

/* E_INVALID, E_IO: `error_text` says why. */
MUST_CHECK int harden_process(const struct harden_options *options, char error_text[256]);
/* E_UNSUPPORTED: not on this kernel or processor. */
MUST_CHECK int harden_system_calls(void);
/* The folder is for its owner alone from now on, unless it is meant for all (sticky). True: others could look in before. */
bool harden_folder(const char *path);

/* System calls that are refused afterwards; for tests. */
size_t harden_denied(const int **ret_numbers);

#endif
