#include <errno.h>
#include <string.h>

#include "sim.h"

static const char *const class_texts[] = {
#define X(name, text) text,
    FILE_CLASS_TABLE(X)
#undef X
};

static const char *const operation_texts[SIM_OPERATIONS] = {
    [SIM_OPEN] = "open",         [SIM_CREATE] = "create",       [SIM_READ] = "read",
    [SIM_WRITE] = "write",       [SIM_FLUSH] = "flush",         [SIM_RESERVE] = "reserve",
    [SIM_TRUNCATE] = "truncate", [SIM_SIZE] = "size",           [SIM_RENAME] = "rename to",
    [SIM_UNLINK] = "unlink",     [SIM_MAKE_DIRECTORY] = "make", [SIM_FLUSH_DIRECTORY] = "flush",
    [SIM_LIST] = "list",
};

static const char *const step_texts[] = {
#define X(name, text) text,
    ENGINE_STEP_TABLE(X)
#undef X
};

static bool ends_with(const char *path, const char *suffix) {
    size_t size = strlen(path), tail = strlen(suffix);
    return size >= tail && strcmp(path + size - tail, suffix) == 0;
}

enum file_class file_class_of(const char *path) {
    static const struct {
        const char *suffix;
        enum file_class class;
    } table[] = {
        {".seg", CLASS_SEGMENT},
        {".spare", CLASS_SPARE},
        {".snap", CLASS_SNAPSHOT},
        {".tmp", CLASS_TMP},
        {"/lock", CLASS_LOCK},
        {"/audit.log", CLASS_AUDIT},
        {"/audit", CLASS_AUDIT_FOLDER},
        {"/log", CLASS_LOG_FOLDER},
        {"/snapshot", CLASS_SNAPSHOT_FOLDER},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (ends_with(path, table[i].suffix))
            return table[i].class;
    return CLASS_FOLDER;
}

uint32_t site_of_disk(unsigned phase, enum sim_operation operation, enum file_class class) {
    return (phase * SIM_OPERATIONS + operation) * FILE_CLASSES + class;
}

uint32_t site_of_step(enum engine_step step) {
    return SITES_OF_DISK + step;
}

void site_name(uint32_t site, char out[SITE_NAME_BYTES]) {
    if (site == SITE_ANY) {
        snprintf(out, SITE_NAME_BYTES, "any operation");
    } else if (site >= SITES_OF_DISK) {
        snprintf(out, SITE_NAME_BYTES, "step: %s", step_texts[site - SITES_OF_DISK]);
    } else {
        unsigned phase = site / FILE_CLASSES / SIM_OPERATIONS;
        snprintf(out, SITE_NAME_BYTES, "%s: %s %s", phase == PHASE_OPENING ? "start" : "run",
                 operation_texts[site / FILE_CLASSES % SIM_OPERATIONS],
                 class_texts[site % FILE_CLASSES]);
    }
}

/* ---- where faults are aimed at ---- */

struct target {
    uint8_t phase, operation, class;
};

/* Those that change something. The first ones exist once in the life of a folder. */
static const struct target changes[] = {
    {PHASE_OPENING, SIM_MAKE_DIRECTORY, CLASS_FOLDER},
    {PHASE_OPENING, SIM_MAKE_DIRECTORY, CLASS_LOG_FOLDER},
    {PHASE_OPENING, SIM_MAKE_DIRECTORY, CLASS_SNAPSHOT_FOLDER},
    {PHASE_OPENING, SIM_CREATE, CLASS_LOCK},
    {PHASE_OPENING, SIM_TRUNCATE, CLASS_LOCK},
    {PHASE_OPENING, SIM_WRITE, CLASS_LOCK},
    {PHASE_OPENING, SIM_FLUSH_DIRECTORY, CLASS_FOLDER},
    {PHASE_OPENING, SIM_FLUSH_DIRECTORY, CLASS_LOG_FOLDER},
    {PHASE_OPENING, SIM_CREATE, CLASS_SPARE},
    {PHASE_OPENING, SIM_RESERVE, CLASS_SPARE},
    {PHASE_OPENING, SIM_WRITE, CLASS_SPARE},
    {PHASE_OPENING, SIM_FLUSH, CLASS_SPARE},
    {PHASE_OPENING, SIM_UNLINK, CLASS_SPARE},
    {PHASE_OPENING, SIM_RENAME, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_WRITE, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_FLUSH, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_TRUNCATE, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_RESERVE, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_UNLINK, CLASS_SPARE},
    {PHASE_OPENING, SIM_UNLINK, CLASS_TMP},
    {PHASE_OPENING, SIM_UNLINK, CLASS_SNAPSHOT},
    {PHASE_RUNNING, SIM_CREATE, CLASS_SPARE},
    {PHASE_RUNNING, SIM_RESERVE, CLASS_SPARE},
    {PHASE_RUNNING, SIM_WRITE, CLASS_SPARE},
    {PHASE_RUNNING, SIM_FLUSH, CLASS_SPARE},
    {PHASE_RUNNING, SIM_RENAME, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_RENAME, CLASS_SPARE},
    {PHASE_RUNNING, SIM_FLUSH_DIRECTORY, CLASS_LOG_FOLDER},
    {PHASE_RUNNING, SIM_WRITE, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_FLUSH, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_TRUNCATE, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_UNLINK, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_CREATE, CLASS_TMP},
    {PHASE_RUNNING, SIM_WRITE, CLASS_TMP},
    {PHASE_RUNNING, SIM_FLUSH, CLASS_TMP},
    {PHASE_RUNNING, SIM_UNLINK, CLASS_TMP},
    {PHASE_RUNNING, SIM_RENAME, CLASS_SNAPSHOT},
    {PHASE_RUNNING, SIM_FLUSH_DIRECTORY, CLASS_SNAPSHOT_FOLDER},
    {PHASE_RUNNING, SIM_UNLINK, CLASS_SNAPSHOT},
    {PHASE_RUNNING, SIM_MAKE_DIRECTORY, CLASS_AUDIT_FOLDER},
    {PHASE_RUNNING, SIM_FLUSH_DIRECTORY, CLASS_AUDIT_FOLDER},
    {PHASE_RUNNING, SIM_CREATE, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_TRUNCATE, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_WRITE, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_WRITE, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_FLUSH, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_FLUSH, CLASS_AUDIT},
};

static const struct target looks[] = {
    {PHASE_OPENING, SIM_OPEN, CLASS_LOCK},
    {PHASE_OPENING, SIM_READ, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_READ, CLASS_SNAPSHOT},
    {PHASE_OPENING, SIM_OPEN, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_OPEN, CLASS_SPARE},
    {PHASE_OPENING, SIM_OPEN, CLASS_SNAPSHOT},
    {PHASE_OPENING, SIM_SIZE, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_SIZE, CLASS_SPARE},
    {PHASE_OPENING, SIM_SIZE, CLASS_SNAPSHOT},
    {PHASE_OPENING, SIM_LIST, CLASS_LOG_FOLDER},
    {PHASE_OPENING, SIM_LIST, CLASS_SNAPSHOT_FOLDER},
    {PHASE_RUNNING, SIM_READ, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_OPEN, CLASS_SPARE},
    {PHASE_RUNNING, SIM_OPEN, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_SIZE, CLASS_SPARE},
    {PHASE_RUNNING, SIM_LIST, CLASS_SNAPSHOT_FOLDER},
    {PHASE_RUNNING, SIM_OPEN, CLASS_SNAPSHOT},
    {PHASE_RUNNING, SIM_SIZE, CLASS_SNAPSHOT},
    {PHASE_RUNNING, SIM_OPEN, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_SIZE, CLASS_AUDIT},
    {PHASE_RUNNING, SIM_READ, CLASS_AUDIT},
};

static const struct target reads[] = {
    {PHASE_OPENING, SIM_READ, CLASS_SEGMENT},
    {PHASE_OPENING, SIM_READ, CLASS_SNAPSHOT},
    {PHASE_RUNNING, SIM_READ, CLASS_SEGMENT},
    {PHASE_RUNNING, SIM_READ, CLASS_AUDIT},
};

#define DRAW(rng, table) (table)[rng_below(rng, sizeof(table) / sizeof((table)[0]))]

uint32_t site_draw(struct rng *rng, enum fault_kind kind) {
    if (fault_is_stop(kind) && rng_below(rng, 4) == 0)
        return site_of_step((enum engine_step)rng_below(rng, ENGINE_STEP_COUNT));
    struct target t;
    if (kind == FAULT_READ_ERROR)
        t = DRAW(rng, looks);
    else if (kind == FAULT_SHORT_READ)
        t = DRAW(rng, reads);
    else
        t = DRAW(rng, changes);
    return site_of_disk(t.phase, (enum sim_operation)t.operation, (enum file_class)t.class);
}

void coverage_add(struct coverage *to, const struct coverage *from) {
    for (unsigned site = 0; site < SITES; site++) {
        to->seen[site] += from->seen[site];
        for (unsigned k = 0; k < FAULT_KINDS; k++)
            to->hit[site][k] = (uint16_t)(to->hit[site][k] + from->hit[site][k] > UINT16_MAX
                                              ? UINT16_MAX
                                              : to->hit[site][k] + from->hit[site][k]);
    }
}

/* ---- happening ---- */

static void happened(struct sim *s, const struct fault *f, uint32_t site) {
    s->result->happened[f->kind]++;
    if (site < SITES)
        s->result->coverage.hit[site][f->kind]++;
}

static bool can_meet(enum fault_kind kind, enum sim_operation operation) {
    bool looks_only = operation == SIM_OPEN || operation == SIM_READ || operation == SIM_SIZE ||
                      operation == SIM_LIST;
    switch (kind) {
    case FAULT_READ_ERROR:
        return looks_only;
    case FAULT_SHORT_READ:
        return operation == SIM_READ;
    case FAULT_IO_ERROR:
        return !looks_only;
    case FAULT_NO_SPACE:
        return operation == SIM_CREATE || operation == SIM_WRITE || operation == SIM_FLUSH ||
               operation == SIM_RESERVE || operation == SIM_RENAME ||
               operation == SIM_MAKE_DIRECTORY || operation == SIM_FLUSH_DIRECTORY;
    default:
        return true;
    }
}

bool site_is_of_start(uint32_t site) {
    return site < SITES_OF_DISK / 2;
}

bool site_can_meet(uint32_t site, enum fault_kind kind) {
    if (site >= SITES_OF_DISK)
        return fault_is_stop(kind);
    enum sim_operation operation = (enum sim_operation)(site / FILE_CLASSES % SIM_OPERATIONS);
    enum file_class class = (enum file_class)(site % FILE_CLASSES);
    bool file = class == CLASS_SEGMENT || class == CLASS_SPARE || class == CLASS_SNAPSHOT;
    if (fault_is_damage(kind))
        return operation == SIM_OPEN && file &&
               site / FILE_CLASSES / SIM_OPERATIONS == PHASE_OPENING;
    return can_meet(kind, operation);
}

static int verdict_of(struct sim *s, const struct fault *f) {
    switch (f->kind) {
    case FAULT_IO_ERROR:
    case FAULT_READ_ERROR:
        s->errors++;
        s->tight = true; /* a segment that cannot be prepared is no room */
        return EIO;
    case FAULT_NO_SPACE:
        s->errors++;
        s->tight = true;
        return ENOSPC;
    case FAULT_SHORT_READ:
        s->errors++;
        return SIM_SHORT;
    case FAULT_SLOW:
        s->slow_left = 1 + (uint32_t)(f->amount % 7);
        s->slow_ns = (1 + (f->amount >> 8) % 1500) * NS_PER_MS;
        return SIM_GO;
    default:
        s->stopped_by = f->kind;
        s->tight = true;
        return SIM_CRASH;
    }
}

/* The first waiting fault whose place this is; it leaves the list. NULL: none. */
static const struct fault *take_waiting(struct sim *s, uint32_t site, enum sim_operation operation,
                                        bool step) {
    for (uint32_t i = 0; i < s->waiting_count; i++) {
        struct waiting_fault *w = &s->waiting[i];
        const struct fault *f = w->fault;
        bool here = step ? f->site == site
                         : (f->site == SITE_ANY || f->site == site) && can_meet(f->kind, operation);
        if (!here || --w->left > 0)
            continue;
        s->waiting[i] = s->waiting[--s->waiting_count];
        return f;
    }
    return NULL;
}

int faults_watch(void *sim, enum sim_operation operation, const char *path) {
    struct sim *s = sim;
    if (s->quiet)
        return SIM_GO;
    uint32_t site = site_of_disk(s->phase, operation, file_class_of(path));
    s->result->coverage.seen[site]++;
    if (s->slow_left > 0) {
        s->slow_left--;
        s->now_ns += s->slow_ns;
    }
    const struct fault *f = take_waiting(s, site, operation, false);
    if (f == NULL)
        return SIM_GO;
    happened(s, f, site);
    return verdict_of(s, f);
}

void faults_step(struct sim *s, enum engine_step step) {
    if (s->quiet)
        return;
    uint32_t site = site_of_step(step);
    s->result->coverage.seen[site]++;
    const struct fault *f = take_waiting(s, site, SIM_OPEN, true);
    if (f == NULL)
        return;
    happened(s, f, site);
    s->stopped_by = f->kind;
    s->tight = true;
    sim_disk_stop(s->disk);
}

static void jump(struct sim *s, const struct fault *f) {
    int64_t far = (int64_t)((f->amount >> 4) % 3600 * NS_PER_SECOND + f->amount % NS_PER_SECOND);
    static const uint64_t spans_ns[] = {3600 * NS_PER_SECOND, 5 * NS_PER_SECOND, 2 * NS_PER_SECOND,
                                        100 * NS_PER_MS};
    int64_t distance = far % (int64_t)spans_ns[f->amount % 4];
    s->real_ahead += f->kind == FAULT_AHEAD ? distance : -distance;
    s->jumped_ns += f->kind == FAULT_AHEAD ? (uint64_t)distance + TIMEKEEPER_JUMP_NS : 0;
    s->jump_unseen |= f->kind == FAULT_AHEAD;
    happened(s, f, SITES);
}

static void begin(struct sim *s, const struct fault *f) {
    if (f->kind == FAULT_AHEAD || f->kind == FAULT_BACK) {
        jump(s, f);
    } else if (f->kind == FAULT_CLOSE) {
        s->close_wanted = true;
        happened(s, f, SITES);
    } else if (f->kind == FAULT_FULL) {
        s->full_wanted = true;
        s->full_bytes = f->amount % (3 * SIM_SEGMENT_BYTES);
        s->full_until = s->result->operations + 100 + (uint32_t)(f->amount >> 20) % 1500;
        happened(s, f, SITES);
    } else if (fault_is_damage(f->kind)) {
        s->damages[s->damage_count++] = f;
    } else {
        s->waiting[s->waiting_count++] = (struct waiting_fault){.fault = f, .left = f->nth};
    }
}

void faults_due(struct sim *s) {
    for (uint32_t i = 0; i < s->plan.fault_count; i++) {
        const struct fault *f = &s->plan.faults[i];
        if (f->at >= s->fault_next && f->at <= s->result->operations)
            begin(s, f);
    }
    s->fault_next = s->result->operations + 1;
}
