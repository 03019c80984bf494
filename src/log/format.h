/*
 * log/format.h - the bytes of a log segment; the only encoder and decoder of them.
 *
 * Segment file "<first position, 16 hex digits>.seg":
 *
 *   offset  size  segment header (64 bytes)
 *        0     8  magic "SLUICE\x01L"
 *        8     4  format version (LOG_FORMAT_VERSION)
 *       12     4  segment number (consecutive over the life of the data folder)
 *       16     8  first position
 *       24     8  created, ns since epoch (time of the record that it was made for; 0 in a new log)
 *       32     8  data folder id (random, made once; a segment of another folder is refused)
 *       40    20  zero
 *       60     4  CRC-32C of bytes 0..59
 *
 *   offset  size  record header (40 bytes), directly followed by the facts
 *        0     4  length of header and facts
 *        4     4  CRC-32C of bytes 8..length, begun from the seed of the segment
 *        8     8  position (consecutive: this one = the one before + 1)
 *       16     8  time, ns since epoch, never less than the record before
 *       24     4  epoch of the writer (for a replicated log; 1 in a file log)
 *       28     4  index in its batch: position - this = first position of the batch it was written in
 *       32     2  number of facts
 *       34     2  flags; 1: a stretch given up by salvage, what follows the header is no facts
 *       36     4  zero
 *
 *   offset  size  fact
 *        0     2  kind (model module in the high byte)
 *        2     2  version of that kind
 *        4     4  length of the payload that follows
 *
 * All little-endian. Records follow one another without padding. Each write ends with four zero
 * bytes, a length of 0 that says "the end" until the next write replaces it (left out where the file
 * ends before).
 *
 * Why the seed: it is made from the folder id and the segment number, so a record is readable only in
 * the very segment that it was written to. What a recycled file still holds from its former life, and
 * what a client put into a body to look like a record, is never taken for one.
 *
 * Why the index in the batch: batch k+1 is written only after batch k was flushed, so a readable
 * record whose batch begins after position p proves that p was durable. A bad record with such a
 * witness behind it is corruption (refuse); one without is a torn tail (cut).
 *
 * docs/format/log.md is the same for people.
 */
#ifndef SLUICE_LOG_FORMAT_H
#define SLUICE_LOG_FORMAT_H

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

#define LOG_FORMAT_VERSION   1u
#define SEGMENT_HEADER_BYTES 64u
#define RECORD_HEADER_BYTES  40u
#define FACT_HEADER_BYTES    8u
#define LOG_END_BYTES        4u
/* `epoch` of every record of a file log. */
#define LOG_EPOCH 1u
/* One record, header and facts. */
#define RECORD_MAX_BYTES (32u << 20)

struct segment_header {
    uint32_t format_version;
    uint32_t number;
    uint64_t first_position;
    uint64_t created_ns;
    uint64_t folder_id;
};

struct record {
    uint64_t position;
    uint64_t time_ns;
    uint32_t epoch;
    uint32_t batch_index;
    uint16_t fact_count;
    bool lost;           /* given up by salvage: no facts, whatever size_bytes says */
    struct span facts;   /* borrows the decoded bytes: fact headers and payloads */
    uint32_t size_bytes; /* header and facts */
};

struct fact {
    uint16_t kind;
    uint16_t version;
    struct span payload; /* borrows */
};

void segment_header_encode(uint8_t out[SEGMENT_HEADER_BYTES], const struct segment_header *h);
/* E_CORRUPT: magic or CRC; E_VERSION: written by a newer program; E_TORN: too short. */
MUST_CHECK int segment_header_decode(struct span in, struct segment_header *ret);

/* What the CRC of every record in this segment begins from. */
uint32_t segment_seed(const struct segment_header *h);

/* Appends header and facts. E_NOMEM, E_LIMIT. r->size_bytes is ignored. */
MUST_CHECK int record_encode(struct buffer *out, uint32_t seed, const struct record *r);
/*
 * The record at the start of `in`, checked against its CRC. E_END: length 0 or nothing left;
 * E_TORN: `in` ends before the record does; E_CORRUPT: length out of range, CRC or fact layout.
 */
MUST_CHECK int record_decode(struct span in, uint32_t seed, struct record *ret);
/* The same without its CRC: of bytes that record_encode made in this process. */
MUST_CHECK int record_view(struct span in, struct record *ret);
/* Only the length at the start of `in`, unchecked; 0 when there is none or it is out of range. */
uint32_t record_length(struct span in);
/* Only the position, unchecked; `in` holds at least RECORD_HEADER_BYTES. */
uint64_t record_position(struct span in);
/*
 * A record of exactly `size_bytes` (>= RECORD_HEADER_BYTES) over what stands at `at`: the bytes
 * behind the header are kept as they are, marked as no facts. For salvage.
 */
void record_encode_lost(uint8_t *at, uint32_t size_bytes, uint32_t seed, uint64_t position,
                        uint64_t time_ns);

/* Appends one fact. E_NOMEM, E_LIMIT. */
MUST_CHECK int fact_encode(struct buffer *out, uint16_t kind, uint16_t version,
                           struct span payload);
/* Takes the next fact off the front of `*facts`. E_END when none is left, E_CORRUPT. */
MUST_CHECK int fact_next(struct span *facts, struct fact *ret);

#endif
