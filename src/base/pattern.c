#include "base/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "base/error.h"

#define MEMORY_MAX_KIB 1024u
#define NESTING_MAX    50u

struct pattern {
    pcre2_code *code;        /* owns */
    pcre2_match_data *match; /* owns */
    pcre2_match_context *limits;
};

static PCRE2_SPTR text_of(struct span s) {
    return s.size > 0 ? s.data : (PCRE2_SPTR) "";
}

static int compile(struct span text, pcre2_code **ret) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL) {
        return E_NOMEM;
    }
    int error;
    PCRE2_SIZE where;
    (void)pcre2_set_parens_nest_limit(context, NESTING_MAX);
    *ret = pcre2_compile(text_of(text), text.size, PCRE2_NEVER_UTF, &error, &where, context);
    pcre2_compile_context_free(context);
    return *ret != NULL ? 0 : E_INVALID;
}

int pattern_compile(struct span text, struct pattern **ret) {
    if (text.size > PATTERN_MAX_BYTES) {
        return E_LIMIT;
    }
    struct pattern *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return E_NOMEM;
    }
    int rc = compile(text, &p->code);
    if (rc == 0) {
        p->match = pcre2_match_data_create(1, NULL);
        p->limits = pcre2_match_context_create(NULL);
        rc = p->match == NULL || p->limits == NULL ? E_NOMEM : 0;
    }
    if (rc != 0) {
        pattern_free(p);
        return rc;
    }
    (void)pcre2_set_match_limit(p->limits, PATTERN_STEPS_MAX);
    (void)pcre2_set_depth_limit(p->limits, PATTERN_STEPS_MAX);
    (void)pcre2_set_heap_limit(p->limits, MEMORY_MAX_KIB);
    *ret = p;
    return 0;
}

void pattern_free(struct pattern *p) {
    if (p == NULL) {
        return;
    }
    pcre2_match_context_free(p->limits);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p);
}

int pattern_try(const struct pattern *p, struct span name, bool *ret_matches) {
    int rc = pcre2_match(p->code, text_of(name), name.size, 0, 0, p->match, p->limits);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        return E_LIMIT;
    }
    *ret_matches = rc >= 0;
    return 0;
}

bool pattern_matches(const struct pattern *p, struct span name) {
    bool matches = false;
    return pattern_try(p, name, &matches) == 0 && matches;
}
