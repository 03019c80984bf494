#include "import.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static void import_file(struct sim *s, const char *from, const char *to) {
    FILE *file = fopen(from, "rb");
    SIM_CHECK(s, file != NULL, "%s cannot be read", from);
    struct buffer bytes;
    buffer_init(&bytes, 1u << 30);
    uint8_t chunk[65536];
    for (size_t got; (got = fread(chunk, 1, sizeof(chunk), file)) > 0;) {
        int error = buffer_append(&bytes, chunk, got);
        assert(error == 0);
    }
    fclose(file);
    sim_disk_put(s->disk, to, bytes.data, bytes.size);
    buffer_release(&bytes);
}

static void import_directory(struct sim *s, const char *from, const char *to) {
    DIR *directory = opendir(from);
    SIM_CHECK(s, directory != NULL, "%s cannot be read", from);
    sim_disk_put_directory(s->disk, to);
    for (struct dirent *e; (e = readdir(directory)) != NULL;) {
        char path[4096], name[512];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", from, e->d_name);
        snprintf(name, sizeof(name), "%s/%s", to, e->d_name);
        import_file(s, path, name);
    }
    closedir(directory);
}

void import_folder(struct sim *s, const char *folder) {
    char path[4096];
    sim_disk_put_directory(s->disk, SIM_DIRECTORY);
    snprintf(path, sizeof(path), "%s/log", folder);
    import_directory(s, path, SIM_DIRECTORY "/log");
    snprintf(path, sizeof(path), "%s/snapshot", folder);
    import_directory(s, path, SIM_DIRECTORY "/snapshot");
}
