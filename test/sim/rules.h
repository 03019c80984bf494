/*
 * test/sim/rules.h - a rule that is changed while it holds: the length of a queue, attempts, a campaign's safety stock.
 *
 * Promise: what is decided follows the rule of its moment. From when a change is asked for until it is answered either of
 *          both may hold; without an answer that stays so until the same is asked again, or the audit has seen which.
 */
#ifndef SLUICE_TEST_SIM_RULES_H
#define SLUICE_TEST_SIM_RULES_H

#include <stdbool.h>
#include <stdint.h>

struct rule {
    uint64_t now, asked; /* the same: it is known */
};

static inline struct rule rule_of(uint64_t value) {
    return (struct rule){value, value};
}
static inline bool rule_known(const struct rule *r) {
    return r->now == r->asked;
}
static inline uint64_t rule_least(const struct rule *r) {
    return r->now < r->asked ? r->now : r->asked;
}
static inline uint64_t rule_most(const struct rule *r) {
    return r->now > r->asked ? r->now : r->asked;
}
static inline bool rule_may_be(const struct rule *r, uint64_t value) {
    return r->now == value || r->asked == value;
}

#endif
