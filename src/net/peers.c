#include "net/peers.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define PREFIX_BYTES 8u

void peers_init(struct peers *p, struct hash_key key) {
    memset(p, 0, sizeof *p);
    p->key = key;
}

struct peers *peers_create(void) {
    struct peers *p = malloc(sizeof *p);
    struct hash_key key;
    if (p == NULL) {
        return NULL;
    }
    ssize_t got = getrandom(&key, sizeof key, 0);
    assert(got == (ssize_t)sizeof key); /* never short for so little */
    peers_init(p, key);
    return p;
}

uint32_t peers_share(uint32_t connections, uint32_t per_address, bool loopback) {
    uint32_t half = connections > 1 ? connections / 2 : 1;
    return per_address != 0 ? per_address : loopback ? 0 : half;
}

/* The address without its port; of IPv6 its prefix, into `room`. */
static struct span address_of(struct span peer, uint8_t room[sizeof(struct in6_addr)]) {
    const uint8_t *colon = memrchr(peer.data, ':', peer.size);
    struct span host = span_of(peer.data, colon == NULL ? 0 : (size_t)(colon - peer.data));
    char text[INET6_ADDRSTRLEN];
    if (host.size < 2 || host.data[0] != '[' || host.size - 2 >= sizeof text) {
        return host;
    }
    memcpy(text, host.data + 1, host.size - 2);
    text[host.size - 2] = '\0';
    return inet_pton(AF_INET6, text, room) == 1 ? span_of(room, PREFIX_BYTES) : host;
}

uint64_t peers_hash(struct hash_key key, struct span peer) {
    uint8_t room[sizeof(struct in6_addr)];
    return hash_bytes(key, address_of(peer, room));
}

bool peers_enter(struct peers *p, struct span peer, uint32_t max, uint32_t *ret_bucket) {
    uint32_t bucket = (uint32_t)peers_hash(p->key, peer) % PEERS_BUCKETS;
    if (p->counts[bucket] >= max || p->counts[bucket] == UINT16_MAX) {
        return false;
    }
    p->counts[bucket]++;
    *ret_bucket = bucket;
    return true;
}

void peers_leave(struct peers *p, uint32_t bucket) {
    assert(bucket < PEERS_BUCKETS && p->counts[bucket] > 0);
    p->counts[bucket]--;
}
