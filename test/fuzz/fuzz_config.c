/* Any bytes as a configuration: taken whole or refused with a reason. */
#include <assert.h>

#include "app/config/internal.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buffer errors;
    struct config *c = NULL;
    buffer_init(&errors, 1 << 20);
    int error = config_parse("fuzz.yaml", span_of(data, size), &errors, &c);
    assert(error == 0 || error == E_INVALID);
    assert((error == 0) == (c != NULL));
    assert((error == 0) == (errors.size == 0));
    config_free(c);
    buffer_release(&errors);
    return 0;
}
