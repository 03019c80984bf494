#include <stddef.h>

#include "http/server.h"

struct status_row {
    int status;
    const char *text;
};

static const char *const SUCCESS[] = {
    "OK",         "Created",       "Accepted",       "Non-Authoritative Information",
    "No Content", "Reset Content", "Partial Content"};
static const char *const REDIRECTION[] = {"Multiple Choices", "Moved Permanently", "Found",
                                          "See Other", "Not Modified"};
static const struct status_row OTHERS[] = {
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {425, "Too Early"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

/* The usual ones by index, as every answer asks; the rest by search. */
const char *http_status_text(int status) {
    if (status >= 200 && status < 200 + (int)ARRAY_LENGTH(SUCCESS))
        return SUCCESS[status - 200];
    if (status >= 300 && status < 300 + (int)ARRAY_LENGTH(REDIRECTION))
        return REDIRECTION[status - 300];
    for (size_t i = 0; i < ARRAY_LENGTH(OTHERS); i++) {
        if (OTHERS[i].status == status)
            return OTHERS[i].text;
    }
    return "Unknown";
}
