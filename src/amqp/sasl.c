#include "amqp/sasl.h"

#include "base/amqp_table.h"
#include "base/error.h"

/* "authorization\0user\0password", the first of which nobody uses. */
static int read_plain(struct span response, struct amqp_login *ret) {
    const uint8_t *end = response.data + response.size;
    const uint8_t *first = response.size > 0 ? memchr(response.data, 0, response.size) : NULL;
    if (first == NULL)
        return E_INVALID;
    const uint8_t *user = first + 1;
    const uint8_t *second = user < end ? memchr(user, 0, (size_t)(end - user)) : NULL;
    if (second == NULL)
        return E_INVALID;
    ret->user = span_of(user, (size_t)(second - user));
    ret->password = span_of(second + 1, (size_t)(end - second) - 1);
    return 0;
}

/* A table's entries without the length that a table has elsewhere. */
static int read_amqplain(struct span response, struct amqp_login *ret) {
    struct amqp_field user, password;
    if (!amqp_table_valid(response) || !amqp_table_find(response, "LOGIN", &user) ||
        !amqp_table_find(response, "PASSWORD", &password) || !amqp_field_text(&user, &ret->user) ||
        !amqp_field_text(&password, &ret->password))
        return E_INVALID;
    return 0;
}

int amqp_login_read(struct span mechanism, struct span response, struct amqp_login *ret) {
    struct amqp_login login = {0};
    int error = E_UNSUPPORTED;
    if (span_is(mechanism, "PLAIN"))
        error = read_plain(response, &login);
    else if (span_is(mechanism, "AMQPLAIN"))
        error = read_amqplain(response, &login);
    else if (span_is(mechanism, "EXTERNAL"))
        error = 0;
    login.external = span_is(mechanism, "EXTERNAL");
    if (error == 0)
        *ret = login;
    return error;
}
