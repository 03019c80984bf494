#include "cli/help.h"

#include <string.h>

#define USAGE_COLUMNS 34

void help_line(FILE *out, const char *usage, const char *what) {
    if (strlen(usage) <= USAGE_COLUMNS)
        fprintf(out, "  %-*s %s\n", USAGE_COLUMNS, usage, what);
    else
        fprintf(out, "  %s\n  %-*s %s\n", usage, USAGE_COLUMNS, "", what);
}

bool help_is_wanted(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool value = strncmp(argv[i - 1], "--", 2) == 0; /* `--contains -h` looks for that */
        if (!value && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
            return true;
    }
    return false;
}
