/*
 * A resolver for tests, preloaded: names stand in the file NAMES_FILE, "name address address...", which is read at each
 * question; "name silent" is answered when the file says something else. What it does not have is asked of the system.
 * Only as much of getaddrinfo as a client needs.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ask(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int system_ask(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **ret) {
    ask *next;
    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo"); /* as POSIX has it */
    return next(name, service, hints, ret);
}

/* What the file says of `name`; false: nothing. */
static int look(const char *path, const char *name, char line[512], char **ret) {
    FILE *file = fopen(path, "re");
    size_t size = strlen(name);
    int found = 0;
    while (file != NULL && !found && fgets(line, 512, file) != NULL) {
        found = strncmp(line, name, size) == 0 && line[size] == ' ';
    }
    if (file != NULL) {
        fclose(file);
    }
    *ret = line + size + 1;
    return found;
}

/* The system parses each address, and frees the chain of all of them. */
static int of_line(char *addresses, const char *service, const struct addrinfo *hints,
                   struct addrinfo **ret) {
    struct addrinfo *first = NULL, **end = &first;
    char *rest;
    for (char *a = strtok_r(addresses, " \n", &rest); a != NULL; a = strtok_r(NULL, " \n", &rest)) {
        int rc = system_ask(a, service, hints, end);
        if (rc != 0) {
            return rc;
        }
        while (*end != NULL) {
            end = &(*end)->ai_next;
        }
    }
    *ret = first;
    return first != NULL ? 0 : EAI_NONAME;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret) {
    const char *path = getenv("NAMES_FILE");
    char line[512], *said;
    if (path == NULL || name == NULL || !look(path, name, line, &said)) {
        return system_ask(name, service, hints, ret);
    }
    while (strcmp(said, "silent\n") == 0) {
        usleep(20000);
        if (!look(path, name, line, &said)) {
            return EAI_AGAIN;
        }
    }
    return of_line(said, service, hints, ret);
}
