/*
 * dispatch/address.h - which addresses a destination may be reached at.
 *
 * Promise: true for unicast addresses that are routed on the public internet. False for loopback, private,
 *          link-local, unique-local, shared (carrier), multicast, broadcast, documentation, benchmark and
 *          reserved ranges, for IPv4 addresses in IPv6 disguise (mapped, 6to4, NAT64) of such, and for
 *          anything that is not IPv4 or IPv6.
 * Source:  the IANA special-purpose address registries (RFC 6890 and later).
 */
#ifndef SLUICE_DISPATCH_ADDRESS_H
#define SLUICE_DISPATCH_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

bool address_is_public(const struct sockaddr *address);
/* The same for text as inet_ntop writes it. False for what is no address. */
bool address_text_is_public(const char *text);
/* False for an URL whose host says already that it is not, as 10.1.2.3 or localhost does. */
bool address_of_url_may_be_public(const char *url);

#endif
