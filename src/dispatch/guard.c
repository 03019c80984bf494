#include "dispatch/guard.h"

#include <sys/socket.h>

#include "dispatch/address.h"

static curl_socket_t on_socket_opens(void *context, curlsocktype purpose,
                                     struct curl_sockaddr *address) {
    struct guard *g = context;
    if (!g->allow_private && !address_is_public(&address->addr)) {
        g->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* A connection that is used again was opened for somebody else, who may have been allowed more. */
static int on_request_leaves(void *context, char *remote_address, char *local_address,
                             int remote_port, int local_port) {
    struct guard *g = context;
    if (g->allow_private || address_text_is_public(remote_address)) {
        return CURL_PREREQFUNC_OK;
    }
    g->refused = true;
    return CURL_PREREQFUNC_ABORT;
}

CURLcode guard_set(CURL *h, struct guard *g) {
    CURLcode rc = curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_socket_opens);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, g);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_request_leaves);
    return rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PREREQDATA, g);
}
