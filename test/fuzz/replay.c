/*
 * Stands in for libFuzzer: runs the target once on each file of the folders named, so that the seeds
 * and every past find are ordinary tests. Exits 1 when there was nothing to run.
 */
#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1u << 20)

static void run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    assert(file != NULL);
    uint8_t *data = malloc(INPUT_MAX);
    assert(data != NULL);
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    uint8_t *exact = malloc(size + 1); /* so that a read past the end is one of the allocation */
    assert(exact != NULL);
    for (size_t i = 0; i < size; i++)
        exact[i] = data[i];
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static int run_folder(const char *folder) {
    DIR *dir = opendir(folder);
    assert(dir != NULL);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        run_file(path);
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv) {
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += run_folder(argv[i]);
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
