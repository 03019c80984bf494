/*
 * manage/manager.h - what calls of the management API share. Internal to manage/.
 */
#ifndef SLUICE_MANAGE_MANAGER_H
#define SLUICE_MANAGE_MANAGER_H

#include <pthread.h>
#include <stdatomic.h>

#include "manage/manage.h"

#define KNOWN_LOGINS      256u
#define KNOWN_LOGIN_BYTES 32u

struct manager {
    struct manage_options options;
    struct api_more more;
    /*
     * Logins that were right, as keyed hashes of name, password and what is kept of it: a slow hash for each
     * request would be a tenth of a second for each.
     */
    pthread_mutex_t lock;
    uint8_t key[32];
    uint8_t known[KNOWN_LOGINS][KNOWN_LOGIN_BYTES];
    uint32_t next_known;
    atomic_uint checking; /* passwords under way */
    atomic_ullong next_session;
};

#endif
