/*
 * model/audit.h - what was done by people with rights: who, from where, when, what, with what result.
 *
 * Promise: an administrative request (audit_names) that changed something and names its caller leaves an
 *          entry in the same record: durable with it, or neither is. Entries are numbered from 1 and
 *          chained: the hash of one is SHA-256(hash of the one before, 32 zeros at first; its text).
 *          An entry stays here until a fact says that the audit file has it (engine/auditor.c), and
 *          the latest AUDIT_RECENT stay anyway.
 * Shape:   opaque; a ring in the model. The text is JSON, made when it was decided and never made
 *          again, so that a program of later days replays to the same hashes.
 * Limits:  AUDIT_WAITING_MAX entries wait for the file; beyond it what would add one is refused.
 * Source:  docs/adr/0009-audit.md.
 *
 * Invariants: A1 numbers in the ring rise up to `count`; a gap is where records were given up by --salvage.
 *             A2 written <= count, and everything behind `written` is in the ring.
 */
#ifndef SLUICE_MODEL_AUDIT_H
#define SLUICE_MODEL_AUDIT_H

#include "model/module.h"
#include "model/request.h"

#define AUDIT_TEXT_MAX    2048u
#define AUDIT_RECENT      1024u
#define AUDIT_WAITING_MAX 65536u

struct audits;
extern const struct module audit_module;

MUST_CHECK int audits_create(struct audits **ret);
void audits_free(struct audits *a);

struct audit_state audit_state(const struct model *m);

struct audit_entry {
    uint64_t number;
    uint8_t hash[AUDIT_HASH_BYTES];
    struct span text; /* borrowed until the next change */
};
/* The first entry behind `number`. False: none. */
bool audit_after(const struct model *m, uint64_t number, struct audit_entry *ret);

/* Is a request of this kind one that leaves an entry? */
bool audit_names(enum request_kind kind);
/* No more entries can be taken. */
bool audit_is_full(const struct model *m);
/* The entry of a request that was decided and emitted what it changes. */
void audit_emit(const struct model *m, struct decision *d, const struct request *r);

/* The hash behind `before` of an entry with this text. */
void audit_chain(const uint8_t before[AUDIT_HASH_BYTES], struct span text,
                 uint8_t ret[AUDIT_HASH_BYTES]);

/* ---- audit_text.c ---- */

/* The JSON text of the entry; at most AUDIT_TEXT_MAX bytes. E_NOMEM, E_LIMIT. */
MUST_CHECK int audit_text(const struct decision *d, const struct request *r, uint64_t number,
                          struct buffer *out);

/* `,"time":"2030-01-02T03:04:05.678901234Z"`. */
MUST_CHECK int audit_put_time(struct buffer *out, uint64_t ns);

/*
 * One line of the audit file: 64 hexadecimal digits, a blank, the text, a line end.
 * parse: `line` without its end. E_CORRUPT: it is not one.
 */
#define AUDIT_LINE_EXTRA (2 * AUDIT_HASH_BYTES + 2)
MUST_CHECK int audit_line_append(const struct audit_entry *e, struct buffer *out);
MUST_CHECK int audit_line_parse(struct span line, struct audit_entry *ret);
void audit_hash_text(const uint8_t hash[AUDIT_HASH_BYTES], char out[2 * AUDIT_HASH_BYTES + 1]);

#endif
