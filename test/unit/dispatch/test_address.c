#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/compiler.h"
#include "dispatch/address.h"

static const char *const refused[] = {
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "5f00::1",
};

static const char *const public[] = {
    "1.1.1.1",         "9.255.255.255",     "11.0.0.0",       "100.63.255.255",
    "100.128.0.0",     "172.15.0.1",        "172.32.0.1",     "192.0.1.1",
    "192.167.255.255", "198.17.255.255",    "198.20.0.0",     "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
};

static bool by_sockaddr(const char *text) {
    struct sockaddr_storage s = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&s;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&s;
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        s.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
        s.ss_family = AF_INET6;
    }
    return address_is_public((struct sockaddr *)&s);
}

static void special_ranges_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        if (address_text_is_public(refused[i]) || by_sockaddr(refused[i])) {
            fail_msg("%s", refused[i]);
        }
    }
}

static void neighbours_of_them_are_public(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(public); i++) {
        if (!address_text_is_public(public[i]) || !by_sockaddr(public[i])) {
            fail_msg("%s", public[i]);
        }
    }
}

static void what_is_no_address_is_refused(void **state) {
    (void)state;
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_false(address_is_public(&local));
    assert_false(address_text_is_public(""));
    assert_false(address_text_is_public("example.org"));
    assert_false(address_text_is_public("8.8.8.8.8"));
}

static void an_url_tells_as_much_as_its_host(void **state) {
    (void)state;
    static const char *const not [] = {"http://127.0.0.1:8080/x", "https://10.1.2.3",
                                       "http://[::1]:80/",        "http://[fd00::1]/a",
                                       "http://LOCALHOST:1/",     "http://localhost?x",
                                       "http://192.168.0.1#f",    "http://169.254.1.1/@8.8.8.8",
                                       "http://127.1/",           "http://me@10.1.2.3/"};
    static const char *const may_be[] = {
        "https://provider.example/",
        "http://8.8.8.8/10.0.0.1",
        "http://[2606:4700::1111]:443/",
        "http://localhost.example/",
        "http://10.example/",
        "http://:1/",
        "https://a-name-that-is-longer-than-any-address-and-than-the-room-that-there-is.example/"};
    for (size_t i = 0; i < ARRAY_LENGTH(not ); i++) {
        if (address_of_url_may_be_public(not [i])) {
            fail_msg("%s", not [i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(may_be); i++) {
        if (!address_of_url_may_be_public(may_be[i])) {
            fail_msg("%s", may_be[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(special_ranges_are_refused),
        cmocka_unit_test(neighbours_of_them_are_public),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(an_url_tells_as_much_as_its_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
