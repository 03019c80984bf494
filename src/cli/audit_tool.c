#include "cli/audit_tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/log_tool.h"
#include "engine/audit_verify.h"

static void print_finding(void *context, const char *text) {
    (void)context;
    puts(text);
}

static int verify(const char *folder, const char *noted) {
    struct audit_report r;
    int error = audit_verify(folder, noted, print_finding, NULL, &r);
    if (error != 0) {
        fprintf(stderr, "sluice: %s: %s\n", folder, log_tool_reason(folder, error));
        return 1;
    }
    char head[2 * AUDIT_HASH_BYTES + 1];
    audit_hash_text(r.known.head, head);
    printf("%" PRIu64 " entries in the file, %" PRIu64 " by the log", r.lines, r.known.count);
    if (r.waiting > 0)
        printf(", %" PRIu64 " still to be written", r.waiting);
    printf("\nhead %s\n%s\n", head,
           r.findings == 0 ? "sound" : "NOT SOUND: it is not what was written");
    return r.findings == 0 ? 0 : 1;
}

/* The entries as they are, one JSON text a line. */
static int show(const char *folder) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/audit/audit.log", folder);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "sluice: %s: %s\n", path, strerror(errno));
        return 1;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    while ((size = getline(&line, &room, file)) > 0) {
        struct audit_entry e;
        size -= line[size - 1] == '\n';
        if (audit_line_parse(span_of(line, (size_t)size), &e) == 0)
            printf("%.*s\n", SPAN_ARG(e.text));
        else
            fprintf(stderr, "sluice: a line that is not an entry: run `sluice audit verify`\n");
    }
    free(line);
    fclose(file);
    return 0;
}

static bool is_hash(const char *text) {
    size_t size = strlen(text);
    return size == 2 * AUDIT_HASH_BYTES && strspn(text, "0123456789abcdef") == size;
}

void audit_tool_usage(FILE *out) {
    fputs("usage: sluice audit verify FOLDER [HASH]\n       sluice audit show FOLDER\n", out);
}

int audit_tool_run(int argc, char **argv) {
    bool noted = argc == 3;
    if (noted && !is_hash(argv[2])) {
        fprintf(stderr, "sluice: %s: a hash is %u hexadecimal digits, in lower case\n", argv[2],
                2 * AUDIT_HASH_BYTES);
        return 2;
    }
    if ((argc == 2 || noted) && strcmp(argv[0], "verify") == 0)
        return verify(argv[1], noted ? argv[2] : NULL);
    if (argc == 2 && strcmp(argv[0], "show") == 0)
        return show(argv[1]);
    audit_tool_usage(stderr);
    return 2;
}
