#include "model/fact.h"

#include <stddef.h>

const char *fact_kind_name(unsigned kind) {
    switch (kind) {
#define X(name, number, version)                                                                   \
    case number:                                                                                   \
        return #name;
        FACT_TABLE(X)
#undef X
    default:
        return NULL;
    }
}

unsigned fact_kind_version(unsigned kind) {
    switch (kind) {
#define X(name, number, version)                                                                   \
    case number:                                                                                   \
        return version;
        FACT_TABLE(X)
#undef X
    default:
        return 0;
    }
}
