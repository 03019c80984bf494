/*
 * bench-flush - what one write and fdatasync of so many bytes costs on this disk, nothing else.
 *
 * usage: bench-flush <file> <bytes> <count> append|allocated|recycled
 *
 *   append     the end of a growing file: each flush commits its new size as well
 *   allocated  a range that fallocate prepared: each flush marks blocks as written
 *   recycled   a range that was written before: the data alone
 *
 * Prints one line of JSON, times in us.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fail(const char *what) {
    fprintf(stderr, "bench-flush: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Brings the file into the state that the mode is about, and flushes that. */
static void prepare(int fd, const char *mode, size_t total) {
    if (strcmp(mode, "append") != 0 && posix_fallocate(fd, 0, (off_t)total) != 0)
        fail("fallocate");
    if (strcmp(mode, "recycled") == 0) {
        static uint8_t block[1 << 16];
        memset(block, 0x5a, sizeof(block));
        for (size_t at = 0; at < total; at += sizeof(block))
            if (pwrite(fd, block, sizeof(block), (off_t)at) < 0)
                fail("write");
    }
    if (fsync(fd) != 0)
        fail("fsync");
}

static void measure(int fd, size_t size, size_t count, double *us) {
    uint8_t *record = malloc(size);
    if (record == NULL)
        fail("memory");
    for (size_t i = 0; i < count; i++) {
        memset(record, (int)(i % 255) + 1, size);
        double start = now_us();
        if (pwrite(fd, record, size, (off_t)(i * size)) != (ssize_t)size)
            fail("write");
        if (fdatasync(fd) != 0)
            fail("fdatasync");
        us[i] = now_us() - start;
    }
    free(record);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: bench-flush <file> <bytes> <count> append|allocated|recycled\n");
        return 2;
    }
    size_t size = strtoul(argv[2], NULL, 10), count = strtoul(argv[3], NULL, 10);
    double *us = calloc(count, sizeof(*us));
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (us == NULL || size == 0 || count == 0 || fd < 0)
        fail(argv[1]);
    prepare(fd, argv[4], size * count);
    measure(fd, size, count, us);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += us[i];
    qsort(us, count, sizeof(*us), compare);
    printf("{\"mean\": %.1f, \"p50\": %.1f, \"p99\": %.1f}\n", sum / (double)count, us[count / 2],
           us[count * 99 / 100]);
    close(fd);
    unlink(argv[1]);
    free(us);
    return 0;
}
