/*
 * What the code under test asks the system for besides files and clocks, so that a seed replays exactly: its own
 * functions stand before those of the C library in this program. The bytes of a file decide which of its
 * sectors a loss finds dirty, so even the id of a new log and the process number in a lock file matter.
 */
#include "chance.h"

#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/rng.h"

static struct rng chance;

void chance_seed(uint64_t seed) {
    rng_init(&chance, seed);
}

ssize_t getrandom(void *out, size_t size, unsigned flags) {
    (void)flags;
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = rng_next(&chance);
        memcpy((uint8_t *)out + at, &word, size - at < sizeof(word) ? size - at : sizeof(word));
    }
    return (ssize_t)size;
}

pid_t getpid(void) {
    return 4711;
}
