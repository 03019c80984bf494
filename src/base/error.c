#include "base/error.h"

const char *error_name(int code) {
    switch (code) {
    case 0:
        return "OK";
#define X(name, value, text)                                                                       \
    case E_##name:                                                                                 \
        return "E_" #name;
        ERROR_TABLE(X)
#undef X
    }
    return "E_UNKNOWN";
}

const char *error_text(int code) {
    switch (code) {
    case 0:
        return "no error";
#define X(name, value, text)                                                                       \
    case E_##name:                                                                                 \
        return text;
        ERROR_TABLE(X)
#undef X
    }
    return "unknown error";
}
