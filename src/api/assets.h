/*
 * api/assets.h - the files of the console, put into the program when it is built (embed.py).
 */
#ifndef SLUICE_API_ASSETS_H
#define SLUICE_API_ASSETS_H

#include "base/span.h"

struct asset {
    const char *name; /* "index.html" */
    const char *content_type;
    const unsigned char *data;
    size_t size;
    const char *tag; /* ETag, quotes included */
};

extern const struct asset assets[];
extern const size_t asset_count;

/* NULL: there is none of that name. */
const struct asset *asset_find(struct span name);

#endif
