/*
 * sluice log verify, stat and dump over any folder: they end, with 0 or 1, and what they print are lines of plain text.
 *
 * The command is the real one (src/cli/log_tool.c), its files are in memory: file_ops_system is ours here.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/log_tool.h"
#include "log_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem_files folder;

/* The system's table, as far as reading needs it; it is constant, so it asks for the present folder. */
static int sys_open(void *context, const char *path, int flags, int mode) {
    (void)context;
    return folder.ops.open(&folder, path, flags, mode);
}

static int sys_close(void *context, int file) {
    (void)context;
    return folder.ops.close(&folder, file);
}

static ssize_t sys_read_at(void *context, int file, void *data, size_t size, uint64_t offset) {
    (void)context;
    return folder.ops.read_at(&folder, file, data, size, offset);
}

static int sys_size(void *context, int file, uint64_t *ret_size) {
    (void)context;
    return folder.ops.size(&folder, file, ret_size);
}

static int sys_list(void *context, const char *path, void (*entry)(void *arg, const char *name),
                    void *arg) {
    (void)context;
    return folder.ops.list(&folder, path, entry, arg);
}

const struct file_ops file_ops_system = {.open = sys_open,
                                         .close = sys_close,
                                         .read_at = sys_read_at,
                                         .size = sys_size,
                                         .list = sys_list};

static void check_text(const char *text, size_t size) {
    assert(size > 0 && text[size - 1] == '\n');
    for (size_t i = 0; i < size; i++) {
        assert(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7f));
    }
}

static void run(const char *command, const char *from) {
    char *text = NULL;
    size_t size = 0;
    FILE *before = stdout;
    char *arguments[] = {(char *)command, (char *)"data", (char *)from};
    stdout = open_memstream(&text, &size);
    assert(stdout != NULL);
    int rc = log_tool_run(from != NULL ? 3 : 2, arguments);
    fclose(stdout);
    stdout = before;
    assert(rc == 0 || rc == 1);
    if (from == NULL || size > 0) {
        check_text(text, size);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > 60000 || data[0] % 3 == 0) {
        return 0;
    }
    (void)log_folder_make(span_of(data, size), &folder);
    run("verify", NULL);
    run("stat", NULL);
    run("dump", "0");
    run("dump", "5");
    mem_files_release(&folder);
    return 0;
}
