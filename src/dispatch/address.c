#include "dispatch/address.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"

struct range4 {
    uint32_t base;
    unsigned bits;
};

static const struct range4 special4[] = {
    {0x00000000, 8},  /* 0.0.0.0/8        this host */
    {0x0a000000, 8},  /* 10.0.0.0/8       private */
    {0x64400000, 10}, /* 100.64.0.0/10    shared by carriers */
    {0x7f000000, 8},  /* 127.0.0.0/8      loopback */
    {0xa9fe0000, 16}, /* 169.254.0.0/16   link-local, cloud metadata */
    {0xac100000, 12}, /* 172.16.0.0/12    private */
    {0xc0000000, 24}, /* 192.0.0.0/24     protocol assignments */
    {0xc0000200, 24}, /* 192.0.2.0/24     documentation */
    {0xc0586300, 24}, /* 192.88.99.0/24   6to4 relays, withdrawn */
    {0xc0a80000, 16}, /* 192.168.0.0/16   private */
    {0xc6120000, 15}, /* 198.18.0.0/15    benchmarks */
    {0xc6336400, 24}, /* 198.51.100.0/24  documentation */
    {0xcb007100, 24}, /* 203.0.113.0/24   documentation */
    {0xe0000000, 3},  /* 224.0.0.0/3      multicast, reserved, broadcast */
};

static bool is_public4(uint32_t address) {
    for (size_t i = 0; i < ARRAY_LENGTH(special4); i++) {
        if ((address ^ special4[i].base) >> (32 - special4[i].bits) == 0) {
            return false;
        }
    }
    return true;
}

struct range6 {
    uint8_t base[12];
    unsigned bytes;   /* of the prefix that count */
    unsigned carries; /* offset of an IPv4 address that decides; 0: never public */
};

/* What lies in 2000::/3 or may be translated to IPv4; all outside of it is not public anyway. */
static const struct range6 special6[] = {
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 12, 12}, /* ::ffff:0:0/96  IPv4-mapped */
    {{0x00, 0x64, 0xff, 0x9b}, 12, 12},                   /* 64:ff9b::/96   NAT64 */
    {{0x20, 0x02}, 2, 2},                                 /* 2002::/16      6to4 */
    {{0x20, 0x01, 0x00}, 3, 0},                           /* 2001::/23      Teredo and others, */
    {{0x20, 0x01, 0x01}, 3, 0},                           /*                in two halves */
    {{0x20, 0x01, 0x0d, 0xb8}, 4, 0},                     /* 2001:db8::/32  documentation */
    {{0x3f, 0xff}, 2, 0},                                 /* 3fff::/16      documentation */
};

static uint32_t read4(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool is_public6(const uint8_t address[16]) {
    for (size_t i = 0; i < ARRAY_LENGTH(special6); i++) {
        if (memcmp(address, special6[i].base, special6[i].bytes) == 0) {
            return special6[i].carries != 0 && is_public4(read4(address + special6[i].carries));
        }
    }
    return (address[0] & 0xe0) == 0x20; /* 2000::/3: all global unicast there is */
}

bool address_is_public(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return is_public4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        return is_public6(in.sin6_addr.s6_addr);
    }
    return false;
}

bool address_text_is_public(const char *text) {
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, text, &four) == 1) {
        return is_public4(ntohl(four.s_addr));
    }
    return inet_pton(AF_INET6, text, &six) == 1 && is_public6(six.s6_addr);
}

/* As curl writes it: an address of version 4 in four numbers, one of version 6 in brackets. */
static bool host_may_be_public(char *host) {
    struct in6_addr address;
    size_t size = strlen(host);
    if (host[0] == '[' && host[size - 1] == ']') {
        host[size - 1] = '\0';
        return address_text_is_public(host + 1);
    }
    return inet_pton(AF_INET, host, &address) == 1 ? address_text_is_public(host)
                                                   : strcasecmp(host, "localhost") != 0;
}

bool address_of_url_may_be_public(const char *url) {
    char *host = NULL;
    CURLU *u = curl_url();
    bool may_be = u == NULL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
                  curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
                  host_may_be_public(host);
    curl_free(host);
    curl_url_cleanup(u);
    return may_be;
}
