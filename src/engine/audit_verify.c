/*
 * Two witnesses are heard. The file's lines are chained: each hash covers its text and the hash before, so
 * a change anywhere makes all that follows wrong, or has to go on to the end. The log, by its newest snapshot
 * and the records behind it, knows the latest entries and their hashes by itself, and up to where the file
 * was written: a chain that was made anew to the end does not meet it, nor does an end that was cut.
 */
#include "engine/audit_verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "log/verify.h"
#include "model/fact.h"

#define PATH_BYTES 4096

struct verifier {
    void (*finding)(void *context, const char *text);
    void *context; /* borrows */
    struct audit_report *report;
    struct model *model; /* owns: only its audit part is filled */
    uint8_t chain[AUDIT_HASH_BYTES];
    bool chain_known; /* false behind a line that is none */
    const char *noted;
    bool noted_seen;
};

static void tell(struct verifier *v, const char *format, ...) PRINTF_LIKE(2, 3);
static void tell(struct verifier *v, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    v->report->findings++;
    v->finding(v->context, text);
}

/* ---- what the log knows ---- */

static int apply_fact(struct verifier *v, const struct record *r, const struct fact *fact) {
    if (fact->kind >> 8 != MODULE_AUDIT)
        return 0;
    struct applied where = {.time_ns = r->time_ns, .position = r->position};
    struct reader payload;
    reader_init(&payload, fact->payload);
    return modules[MODULE_AUDIT]->apply(v->model, &where, fact->kind, fact->version, &payload);
}

static int on_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    struct verifier *v = context;
    struct span facts = r->facts;
    struct fact fact;
    (void)file, (void)offset;
    while (fact_next(&facts, &fact) == 0) {
        if (apply_fact(v, r, &fact) != 0) {
            tell(v, "the log: record %" PRIu64 " has an entry that does not fit those before",
                 r->position);
            return 1;
        }
    }
    return 0;
}

static void on_log_finding(void *context, const struct log_finding *f) {
    struct verifier *v = context;
    if (f->kind != LOG_FINDING_TORN_TAIL)
        tell(v, "the log: %s at offset %" PRIu64 " is damaged; run `sluice log verify`", f->file,
             f->offset);
}

static int learn(struct verifier *v, const char *directory) {
    const struct model_limits limits = {.queues = 0};
    const struct log_visitor visitor = {
        .context = v, .record = on_record, .finding = on_log_finding};
    struct log_scan_summary summary;
    uint64_t position = 0;
    int error = model_create(&limits, (struct hash_key){1, 2}, &v->model);
    if (error == 0)
        error =
            snapshot_load_module(directory, &file_ops_system, MODULE_AUDIT, v->model, &position);
    if (error == 0)
        error = log_scan(directory, &file_ops_system, position + 1, &visitor, &summary);
    v->report->known = v->model != NULL ? audit_state(v->model) : (struct audit_state){.count = 0};
    return error;
}

/* ---- the file ---- */

static void check_chain(struct verifier *v, const struct audit_entry *e) {
    uint8_t hash[AUDIT_HASH_BYTES];
    char text[2 * AUDIT_HASH_BYTES + 1];
    audit_chain(v->chain, e->text, hash);
    if (v->chain_known && memcmp(hash, e->hash, sizeof(hash)) != 0)
        tell(v,
             "line %" PRIu64 " (entry %" PRIu64
             "): its hash is not that of its text and of the line before: one of them is not what "
             "was written",
             v->report->lines, e->number);
    memcpy(v->chain, e->hash, sizeof(v->chain));
    v->chain_known = true;
    audit_hash_text(e->hash, text);
    v->noted_seen = v->noted_seen || (v->noted != NULL && strcmp(text, v->noted) == 0);
}

static void check_known(struct verifier *v, const struct audit_entry *e) {
    struct audit_entry known;
    if (audit_after(v->model, e->number - 1, &known) && known.number == e->number &&
        (memcmp(known.hash, e->hash, sizeof(known.hash)) != 0 || !span_equal(known.text, e->text)))
        tell(v, "line %" PRIu64 " (entry %" PRIu64 "): the log has it otherwise", v->report->lines,
             e->number);
}

static void check_line(struct verifier *v, struct span line) {
    struct audit_report *r = v->report;
    struct audit_entry e;
    r->lines++;
    if (audit_line_parse(line, &e) != 0) {
        tell(v, "line %" PRIu64 " is not an entry", r->lines);
        v->chain_known = false;
        return;
    }
    if (e.number != r->last + 1)
        tell(v, "line %" PRIu64 ": entry %" PRIu64 " comes after entry %" PRIu64, r->lines,
             e.number, r->last);
    r->last = e.number;
    check_chain(v, &e);
    check_known(v, &e);
}

static int check_file(struct verifier *v, const char *directory) {
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/audit/audit.log", directory);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : E_IO;
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    v->chain_known = true;
    while ((size = getline(&line, &room, file)) > 0) {
        if (line[size - 1] == '\n')
            check_line(v, span_of(line, (size_t)size - 1));
        /* else it is being written, or was when the program ended: not an entry yet */
    }
    int error = ferror(file) ? E_IO : 0;
    free(line);
    fclose(file);
    return error;
}

static void check_end(struct verifier *v) {
    struct audit_report *r = v->report;
    if (r->last < r->known.written)
        tell(v, "the file ends with entry %" PRIu64 ", but %" PRIu64 " had been written: cut off",
             r->last, r->known.written);
    if (r->last > r->known.count)
        tell(v, "the file has entry %" PRIu64 ", but the log knows only %" PRIu64, r->last,
             r->known.count);
    if (v->noted != NULL && !v->noted_seen)
        tell(v, "no line has the hash that was noted");
    r->waiting = r->known.count > r->last ? r->known.count - r->last : 0;
}

int audit_verify(const char *directory, const char *noted,
                 void (*finding)(void *context, const char *text), void *context,
                 struct audit_report *ret) {
    struct verifier v = {.finding = finding, .context = context, .report = ret, .noted = noted};
    *ret = (struct audit_report){.lines = 0};
    int error = learn(&v, directory);
    if (error == 0)
        error = check_file(&v, directory);
    if (error == 0)
        check_end(&v);
    model_free(v.model);
    return error;
}
