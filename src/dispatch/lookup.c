#include "dispatch/lookup.h"

bool lookup_may(struct lookup_name *name, const struct lookups *all, uint64_t now_ns) {
    if (!name->silent) {
        return true;
    }
    uint64_t oldest_ns = all->left_ns[all->next];
    if (now_ns < name->again_ns || (oldest_ns != 0 && now_ns - oldest_ns < LOOKUP_LIFE_NS)) {
        return false;
    }
    name->again_ns = now_ns + LOOKUP_AGAIN_NS;
    return true;
}

void lookup_left(struct lookup_name *name, struct lookups *all, uint64_t now_ns) {
    name->silent = true;
    all->left_ns[all->next] = now_ns;
    all->next = (all->next + 1) % LOOKUPS_LEFT_MAX;
}

void lookup_answered(struct lookup_name *name) {
    name->silent = false;
}

/* CURLOPT_RESOLVER_START_FUNCTION: not for what curl still knows. */
static int on_name_asked(void *resolver, void *reserved, void *context) {
    struct lookup *l = context;
    (void)resolver;
    (void)reserved;
    l->asks = lookup_may(l->name, l->all, clock_monotonic_ns());
    return l->asks ? 0 : 1;
}

CURLcode lookup_set(CURL *h, struct lookup *l) {
    CURLcode rc = curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_RESOLVER_START_FUNCTION, on_name_asked);
    return rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_RESOLVER_START_DATA, l);
}

void lookup_withdrawn(struct lookup *l, bool answered) {
    if (l->asks && answered) {
        lookup_answered(l->name);
    } else if (l->asks) {
        lookup_left(l->name, l->all, clock_monotonic_ns());
    }
    l->asks = false;
}

void lookup_done(struct lookup *l, CURL *h, CURLcode result) {
    curl_off_t took_us = 0; /* until it is answered */
    curl_easy_getinfo(h, CURLINFO_NAMELOOKUP_TIME_T, &took_us);
    lookup_withdrawn(l, result != CURLE_OPERATION_TIMEDOUT || took_us != 0);
}
