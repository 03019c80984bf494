#include "api/json_tree.h"

#include <stdio.h>

#include "api/json_scan.h"
#include "base/error.h"

int json_tree_read(struct span text, char reason[JSON_REASON_BYTES], json_t **ret_tree) {
    struct json_fault fault;
    if (json_scan(text, NULL, NULL, &fault) != 0) {
        snprintf(reason, JSON_REASON_BYTES, "not JSON: %s at byte %zu", fault.reason, fault.offset);
        return E_INVALID;
    }
    json_error_t error;
    json_t *tree = json_loadb((const char *)text.data, text.size,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (tree == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return E_NOMEM;
        }
        snprintf(reason, JSON_REASON_BYTES, "not usable: %s", error.text);
        return E_INVALID;
    }
    *ret_tree = tree;
    return 0;
}
