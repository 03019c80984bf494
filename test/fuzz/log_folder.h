/*
 * test/fuzz/log_folder.h - folders with a log, out of a fuzzer's bytes. The first byte chooses:
 *
 *      1 mod 3   the rest replaces bytes of a good segment at an offset of its first two bytes
 *      2 mod 3   the rest describes records (8 bytes: position, time, index in the batch, facts, flags,
 *                length of what follows as facts), which are written with good checksums
 */
#ifndef SLUICE_TEST_FUZZ_LOG_FOLDER_H
#define SLUICE_TEST_FUZZ_LOG_FOLDER_H

#include "log/log.h"
#include "mem_files.h"

/* In the good segment: record n has one fact, all of whose bytes are n. */
#define LOG_FOLDER_RECORDS 12

/* `in` has at least 3 bytes. True: all its checksums are of the good segment's records. */
bool log_folder_make(struct span in, struct mem_files *ret_folder);
/* The log in "data", without a thread. Errors of log_open. */
MUST_CHECK int log_folder_open(struct mem_files *folder, bool salvage, struct log **ret_log);

#endif
