/*
 * net/peers.h - how many connections each address has, so that one cannot take them all.
 *
 * Promise: an address never has more than `max` that were let in. Addresses are told apart by a keyed hash
 *          of 16 bits, so two of 65,536 may by chance share their count, and nobody can choose with whom;
 *          of IPv6 the first 64 bits count, which is what one customer has at least.
 * Shape:   one block of memory of fixed size; no clock.
 */
#ifndef SLUICE_NET_PEERS_H
#define SLUICE_NET_PEERS_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/hash.h"

#define PEERS_BUCKETS 65536u

struct peers {
    struct hash_key key;
    uint16_t counts[PEERS_BUCKETS];
};

void peers_init(struct peers *p, struct hash_key key);
/* With a key that nobody knows, to be freed by free; NULL: no memory. */
struct peers *peers_create(void);
/*
 * How many of `connections` one address may have. `per_address` is what was configured; 0: half of them, but any
 * number from this machine, where a proxy brings everybody's. 0: not counted.
 */
uint32_t peers_share(uint32_t connections, uint32_t per_address, bool loopback);
/* Of an address whatever its port, of IPv6 of its first 64 bits. */
uint64_t peers_hash(struct hash_key key, struct span peer);
/* `peer` is "127.0.0.1:51234" or "[::1]:51234". True: counted in, *ret_bucket is for peers_leave. */
MUST_CHECK bool peers_enter(struct peers *p, struct span peer, uint32_t max, uint32_t *ret_bucket);
void peers_leave(struct peers *p, uint32_t bucket);

#endif
