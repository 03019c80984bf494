#include "model/refusal.h"

#include <assert.h>

const char *refusal_name(enum refusal r) {
    static const char *const names[REFUSAL_COUNT] = {
#define X(name, text) text,
        REFUSAL_TABLE(X)
#undef X
    };
    assert(r < REFUSAL_COUNT);
    return names[r];
}
