#include <sodium.h>
#include <stdlib.h>

#include "base/error.h"
#include "manage/calls.h"
#include "manage/manager.h"

int manager_create(const struct manage_options *options, struct manager **ret) {
    struct manager *m = calloc(1, sizeof *m);
    if (m == NULL)
        return E_NOMEM;
    m->options = *options;
    m->more = (struct api_more){.routes = manage_routes,
                                .route_count = manage_route_count,
                                .login = manage_login,
                                .context = m};
    pthread_mutex_init(&m->lock, NULL);
    randombytes_buf(m->key, sizeof m->key);
    randombytes_buf(m->known, sizeof m->known); /* nobody's */
    *ret = m;
    return 0;
}

void manager_free(struct manager *m) {
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->lock);
    sodium_memzero(m->key, sizeof m->key);
    free(m);
}

const struct api_more *manager_routes(const struct manager *m) {
    return &m->more;
}
