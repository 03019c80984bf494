#include "api/assets.h"

const struct asset *asset_find(struct span name) {
    for (size_t i = 0; i < asset_count; i++) {
        if (span_is(name, assets[i].name)) {
            return &assets[i];
        }
    }
    return NULL;
}
