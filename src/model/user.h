/*
 * model/user.h - users of AMQP and what they may do in which vhost.
 *
 * Promise: kept and given back, no more: passwords are hashed (argon2id) and compared outside, patterns are matched
 *          outside; `generation` changes with each change, so that both can be remembered there.
 * Invariants: U1 a user stands once by name, a permission once by (user, vhost); U2 permissions go with their user.
 */
#ifndef SLUICE_MODEL_USER_H
#define SLUICE_MODEL_USER_H

#include "model/model.h"

struct users;

extern const struct module user_module;

MUST_CHECK int users_create(struct model *m, struct users **ret);
void users_free(struct users *s);

/* Changes with each change of a user or permission. Any thread. */
uint64_t user_generation(const struct model *m);

#endif
