/*
 * The machine: time goes on, clients ask, the engine turns, something stops it, it starts again.
 *
 * One round:   faults that are due -> what is due at the providers -> clients ask -> a turn of the engine
 *              -> the shadow follows -> time goes on, to the next thing that will happen.
 * A restart:   the process is gone; unflushed bytes are lost as the fault says; a while later the engine opens,
 *              perhaps several times, because faults wait there too; then the audit and the comparison
 *              with the shadow say whether all is as it was.
 * The end:     no more faults, providers that say yes, until everything that was accepted is done or dead.
 */
#include "run.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "broker.h"
#include "chance.h"
#include "chores.h"
#include "clients.h"
#include "damage.h"
#include "import.h"
#include "ledger.h"
#include "letters.h"
#include "log/internal.h"
#include "desk.h"
#include "destinations.h"
#include "guard.h"
#include "outcomes.h"
#include "providers.h"
#include "shadow.h"
#include "shares.h"
#include "slips.h"
#include "tenants.h"
#include "sim.h"
#include "traffic.h"
#include "units.h"

#define START_NS       (1000 * NS_PER_SECOND)
#define AUDIT_EVERY    3000u /* operations */
#define OPEN_TRIES     40u
#define DRAIN_TURNS    60000u
#define QUIET_ONE_IN   300u
#define KEEPER_ONE_IN  2u
#define FILL_TURNS     24u /* ten until it is quiet, the others write */
#define SETTLE_TURNS   8u
#define STEP_MOST_NS   NS_PER_SECOND /* tombstones end after a day: nobody waits for that */
#define CAPACITY_BYTES (64u << 20)

void sim_fail(const struct sim *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(s->result->message, sizeof(s->result->message), format, args);
    va_end(args);
    fprintf(stderr, "at operation %u, %" PRIu64 " ms, restart %u: %s\n", s->result->operations,
            (s->now_ns - START_NS) / NS_PER_MS, s->result->restarts, s->result->message);
    _exit(1);
}

uint64_t sim_draw(const struct sim *s, uint64_t what, uint64_t which) {
    return hash_u64(s->plan.seed ^ hash_u64(what << 56 ^ hash_u64(which + 1)));
}

/* ---- what the engine is given ---- */

static uint64_t real_clock(void *context) {
    return sim_real_ns(context);
}

static uint64_t monotonic_clock(void *context) {
    return ((struct sim *)context)->now_ns;
}

static void on_failed(void *context, const char *message) {
    struct sim *s = context;
    s->dead = true;
    if (getenv("SIM_VERBOSE") != NULL)
        fprintf(stderr, "  [%u] failed: %s\n", s->result->operations, message);
}

static void on_note(void *context, const char *message) {
    const struct sim *s = context;
    if (getenv("SIM_VERBOSE") != NULL)
        fprintf(stderr, "  [%u] note: %s\n", s->result->operations, message);
}

/* Others' work comes in between the steps of the housekeeper. */
static void on_step(void *context, enum engine_step step) {
    struct sim *s = context;
    bool runs = !s->dead && !s->closing && !sim_disk_crashed(s->disk);
    if (step == ENGINE_STEP_SEGMENT_CHOSEN && runs)
        shadow_follow(s); /* it goes now: a long turn may have begun before it */
    faults_step(s, step);
    if (s->quiet || s->dead || s->closing || s->looking || s->unflushed || s->depth > 2 ||
        rng_below(&s->rng, 3) == 0)
        return;
    s->now_ns += rng_below(&s->rng, 2 * NS_PER_MS);
    providers_happen(s);
    desks_happen(s);
    clients_ask(s);
    run_turn(s);
}

static void fill_options(struct sim *s) {
    uint64_t draw = sim_draw(s, 'o', 0);
    s->options = (struct engine_options){
        .directory = SIM_DIRECTORY,
        .files = sim_disk_ops(s->disk),
        .segment_bytes = SIM_SEGMENT_BYTES,
        .min_free_bytes = draw % 2 == 0 ? 0 : 64u << 10,
        .prepared_bytes = (draw >> 34) % 2 == 0 ? 0 : 2 * SIM_SEGMENT_BYTES,
        .snapshot_every_bytes = (60u << 10) + (draw >> 8) % (500u << 10),
        .limits = {.queues = 256, .destinations = 256}, /* tables of them are made at each start */
        .compact_live_share = (draw >> 30) % 3 == 0 ? 0.9 : 0.3,
        .timers_a_turn = (draw >> 36) % 2 == 0 ? 0 : 1 + (uint32_t)(draw >> 37) % 3,
        .manual = true,
        .real_ns = real_clock,
        .monotonic_ns = monotonic_clock,
        .between = on_step,
        .context = s,
        .start_attempts = providers_start,
        .deliver = broker_deliver,
        .failed = on_failed,
        .note = on_note,
    };
}

/* ---- turns ---- */

/* The engine turns, once or several times, in what somebody does at one moment. */
static void as_turn(struct sim *s, void (*work)(struct sim *s)) {
    uint64_t turn_ns = s->turn_ns, turn_engine_ns = s->turn_engine_ns;
    s->turn_ns = s->now_ns;
    s->turn_engine_ns = sim_engine_ns(s);
    uint64_t durable = log_durable_position(s->engine->log);
    s->depth++;
    work(s);
    s->depth--;
    s->jump_unseen = false;
    s->result->turns++;
    if (log_durable_position(s->engine->log) > durable)
        s->durable_before = durable;
    if (s->depth > 0) {
        s->turn_ns = turn_ns;
        s->turn_engine_ns = turn_engine_ns;
    }
    if (s->depth == 0 && !s->dead && !sim_disk_crashed(s->disk))
        shadow_follow(s);
}

/*
 * Now and then the housekeeper's thread comes in between the decisions and the flush. Nobody else does: what is told
 * of one flush, answers before starts, is what one round of decisions made of the requests.
 */
static void turn_engine(struct sim *s) {
    struct engine *e = s->engine;
    if (rng_below(&s->rng, KEEPER_ONE_IN) == 0) {
        engine_decide(e);
        s->unflushed = true;
        if (!e->held.dead)
            keeper_turn(e, false);
        s->unflushed = false;
    }
    engine_turn(e);
}

void run_turn(struct sim *s) {
    as_turn(s, turn_engine);
}

/* The thread that makes the steps of jobs. */
static void let_the_clerk_work(struct sim *s) {
    if (!s->dead && !sim_disk_crashed(s->disk) && rng_below(&s->rng, 4) == 0)
        as_turn(s, chores_work);
}

/* A quiet time: the log thread would write ahead now (log/fill.c). */
static void be_quiet_for_a_while(struct sim *s) {
    struct log *log = s->engine->log;
    log_lock(log);
    for (unsigned n = 0; n < FILL_TURNS && fill_wait_ms(log) > 0; n++)
        fill_turn(log);
    log_unlock(log);
    s->now_ns += 20 * NS_PER_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void pass_time(struct sim *s) {
    uint64_t next_ns = earlier(clients_next_ns(s), providers_next_ns(s));
    next_ns = earlier(next_ns, desks_next_ns(s));
    next_ns = earlier(next_ns, sequencer_next_wake_ns(s->engine));
    uint64_t step_ns = 50 * NS_PER_US + rng_below(&s->rng, NS_PER_MS);
    s->now_ns += step_ns;
    if (next_ns > s->now_ns + STEP_MOST_NS)
        next_ns = s->now_ns + STEP_MOST_NS;
    s->now_ns = next_ns > s->now_ns ? next_ns : s->now_ns;
}

/* ---- room ---- */

static void make_full(struct sim *s) {
    const struct file_ops *files = sim_disk_ops(s->disk);
    uint64_t left;
    s->full_wanted = false;
    sim_disk_set_capacity(s->disk, CAPACITY_BYTES);
    int error = files->free_bytes(files->context, SIM_DIRECTORY, &left);
    assert(error == 0);
    sim_disk_set_capacity(s->disk, CAPACITY_BYTES - left + s->full_bytes);
    s->tight = true;
}

static void give_room(struct sim *s) {
    sim_disk_set_capacity(s->disk, CAPACITY_BYTES);
    s->full_until = 0;
    s->full_wanted = false;
}

/* ---- stopping and starting ---- */

static enum sim_loss loss_of(const struct sim *s) {
    static const enum sim_loss losses[] = {
        [FAULT_KILL] = SIM_KEEP,       [FAULT_DROP] = SIM_DROP,     [FAULT_TEAR] = SIM_TEAR,
        [FAULT_SCATTER] = SIM_SCATTER, [FAULT_GARBLE] = SIM_GARBLE,
    };
    return s->stopped_by <= FAULT_GARBLE ? losses[s->stopped_by] : SIM_KEEP;
}

/* A hold after a jump ends with the process, however that ends: nobody knows of it any more. */
static void lose_hold(struct sim *s) {
    s->jump_unseen |= s->engine != NULL && s->engine->timekeeper.starts_after_ns > s->now_ns;
}

/* The process is gone; what the clients and providers make of that. */
static void stop(struct sim *s) {
    sim_disk_stop(s->disk);
    lose_hold(s);
    shadow_let_go(s);
    if (s->engine != NULL) {
        s->ended_engine_ns = sim_engine_ns(s);
        engine_close(s->engine, false);
    }
    s->engine = NULL;
    s->dead = false;
    clients_restart(s);
    letters_restart(s);
    slips_restart(s);
    shares_restart(s);
    broker_restart(s);
    providers_restart(s);
    desks_restart(s);
    sim_disk_restart(s->disk, loss_of(s));
    s->stopped_by = FAULT_KILL;
    s->depth = 0;
    s->unflushed = false;
    if (s->jump_unseen) {
        providers_forget(s);
        desks_forget(s);
    }
    s->jump_unseen = false;
    uint64_t down_ms = rng_below(&s->rng, 2) == 0 ? 20 : 300;
    s->now_ns += (1 + rng_below(&s->rng, down_ms)) * NS_PER_MS;
    s->result->restarts++;
}

/* One try. False: it did not come to an open engine, for a reason that a fault gave. */
static bool try_open(struct sim *s, struct engine_recovery *recovery) {
    char text[512];
    s->errors = 0;
    s->dead = false;
    s->tight = s->full_until != 0;
    s->phase = PHASE_OPENING;
    int error = engine_open(&s->options, recovery, text, &s->engine);
    s->phase = PHASE_RUNNING;
    if (error == 0 && !s->dead && !sim_disk_crashed(s->disk))
        return true;
    if (error != 0) {
        bool reason = s->errors > 0 || s->dead || sim_disk_crashed(s->disk) ||
                      (error == E_FULL && s->full_until != 0);
        SIM_CHECK(s, reason, "the engine does not open: %s: %s", error_name(error), text);
        s->result->refused_starts++;
        s->engine = NULL;
        if (error == E_FULL)
            give_room(s);
    }
    stop(s);
    return false;
}

static void start(struct sim *s) {
    struct engine_recovery recovery;
    unsigned tries = 0;
    struct trial *trial = damage_prepare(s);
    uint64_t now_ns = s->now_ns;
    while (!try_open(s, &recovery))
        SIM_CHECK(s, ++tries < OPEN_TRIES, "the engine never opens");
    (void)now_ns;
    SIM_CHECK(s, recovery.log.next_position > shadow_position(s),
              "record %" PRIu64 " was durable; the log ends at %" PRIu64, shadow_position(s),
              recovery.log.next_position - 1);
    damage_try(s, trial);
}

/* False: the engine died meanwhile, or there is no room to define what is needed. */
static bool look(struct sim *s) {
    if (s->plan.import != NULL && shadow_position(s) == 0)
        shadow_adopt(s);
    if (!s->defined) {
        s->defined = clients_define(s);
        if (!s->defined)
            give_room(s);
    }
    return s->defined && audit_run(s) && !s->dead;
}

/* Started, and found to be as it was. Nothing is asked before the audit has seen what there is. */
static void start_and_look(struct sim *s) {
    s->looking = true;
    for (unsigned tries = 0;; tries++) {
        SIM_CHECK(s, tries < OPEN_TRIES, "the engine never comes to work");
        if (s->engine == NULL)
            start(s);
        if (look(s))
            break;
        stop(s);
    }
    s->looking = false;
    shadow_compare(s);
}

static void restart(struct sim *s) {
    stop(s);
    start_and_look(s);
}

/* In order, perhaps with a snapshot; the power may go right afterwards. */
static void close_and_restart(struct sim *s) {
    s->close_wanted = false;
    lose_hold(s);
    shadow_let_go(s);
    s->closing = true;
    engine_close(s->engine, rng_below(&s->rng, 2) == 0);
    s->closing = false;
    s->engine = NULL;
    if (!sim_disk_crashed(s->disk) && !s->dead)
        s->stopped_by = rng_below(&s->rng, 2) == 0 ? FAULT_DROP : FAULT_KILL;
    restart(s);
}

/* ---- the run ---- */

static void round_of(struct sim *s) {
    faults_due(s);
    if (s->full_wanted)
        make_full(s);
    if (s->full_until != 0 && s->result->operations >= s->full_until)
        give_room(s);
    providers_happen(s);
    desks_happen(s);
    broker_work(s);
    clients_ask(s);
    run_turn(s);
    let_the_clerk_work(s);
    if (!s->dead && rng_below(&s->rng, QUIET_ONE_IN) == 0)
        be_quiet_for_a_while(s);
    if (s->dead || sim_disk_crashed(s->disk))
        restart(s);
    else if (s->close_wanted)
        close_and_restart(s);
    pass_time(s);
}

static void audit_now_and_then(struct sim *s, uint32_t *next) {
    if (s->result->operations < *next || s->full_until != 0)
        return;
    *next = s->result->operations + AUDIT_EVERY;
    if (audit_run(s))
        shadow_compare(s);
    else
        restart(s);
}

static void resume_all(struct sim *s) {
    for (unsigned q = 0; q < QUEUES; q++) {
        struct call *c = call_take(s, REQUEST_QUEUE_RESUME);
        s->letters->queues[q].may_pause = true;
        c->q.r.name = span_text(s->letters->queues[q].name);
        if (calls_finish(s, &c, 1, NULL, NULL))
            call_give(s, c);
        s->letters->queues[q].paused = s->letters->queues[q].may_pause = false;
    }
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        struct call *c = call_take(s, REQUEST_DESTINATION_RESUME);
        provider_paused(s, d, true, false);
        c->q.r.name = span_text(destination_names[d]);
        if (calls_finish(s, &c, 1, NULL, NULL))
            call_give(s, c);
        provider_paused(s, d, false, true);
    }
}

static void act_finished(struct sim *s, void *call) {
    struct call *c = call;
    guard_answered(s, DESTINATION_GUARDED, &c->q.r, c->stock, c->q.r.refusal == REFUSAL_NONE);
}

static void act(struct sim *s, enum request_kind kind, unsigned endpoint) {
    if (provider_index(s, DESTINATION_GUARDED) == UINT32_MAX ||
        !guard_ask(s, DESTINATION_GUARDED, kind, endpoint))
        return;
    struct call *c = call_take(s, kind);
    traffic_fill_act(s, c, kind, endpoint, true);
    if (calls_finish(s, &c, 1, act_finished, c))
        call_give(s, c);
}

/* Nobody and no check holds the guarded destination back any more. */
static void release_guarded(struct sim *s) {
    act(s, REQUEST_DESTINATION_CLOSE, 0);
    act(s, REQUEST_DESTINATION_RETURN, 0);
    for (unsigned e = 0; e < provider_facts(s, DESTINATION_GUARDED)->endpoint_count; e++) {
        act(s, REQUEST_ENDPOINT_RETURN, e);
        act(s, REQUEST_ENDPOINT_CHECKED, e);
    }
}

/* Nothing is sent from there: jobs that move to it would wait for room. */
static void slips_clear_aside(struct sim *s) {
    struct call *c = call_take(s, REQUEST_QUEUE_PURGE);
    c->q.r.name = span_text(s->slips->desks[DESK_ASIDE].name);
    if (!calls_finish(s, &c, 1, NULL, NULL))
        return;
    for (uint32_t tag = 1; tag < s->slips->count; tag++)
        if (slip_may(s, tag) & SLIP_AT(DESK_ASIDE))
            slip_set(s, tag, slip_at(s, tag)->may | SLIP_GONE);
    call_give(s, c);
}

static bool all_sent(const struct sim *s) {
    for (unsigned q = 0; q < QUEUES; q++)
        if (queue_destination(q) >= 0 && s->letters->queues[q].alive_maybe > 0)
            return false;
    return slips_all_sent(s) && parcels_all_gone(s) && clients_all_answered(s) &&
           providers_next_ns(s) == UINT64_MAX && desks_next_ns(s) == UINT64_MAX;
}

/* Faults end, providers are well: room comes back by itself, and what was accepted is sent or dies. */
static void drain(struct sim *s) {
    s->waiting_count = 0;
    s->slow_left = 0;
    s->draining = true;
    give_room(s);
    broker_disconnect_all(s);
    for (unsigned i = 0; i < SETTLE_TURNS; i++) {
        s->now_ns += NS_PER_SECOND;
        providers_happen(s);
        desks_happen(s);
        clients_ask(s);
        run_turn(s);
    }
    SIM_CHECK(s, engine_room(s->engine) == LOG_ROOM_OK,
              "there is room, and the engine does not see it");
    resume_all(s);
    release_guarded(s);
    for (unsigned turns = 0; !all_sent(s); turns++) {
        if (turns % 5000 == 4999)
            audit_run(s); /* what may have expired is known then */
        SIM_CHECK(s, turns < DRAIN_TURNS,
                  "something that was accepted is never sent (parcel %u of %u)", s->parcels->first,
                  s->parcels->count);
        providers_happen(s);
        desks_happen(s);
        broker_work(s);
        clients_ask(s);
        run_turn(s);
        let_the_clerk_work(s);
        if (turns % 500 == 499)
            slips_clear_aside(s);
        pass_time(s);
    }
}

/* A file that could not be written is tried again after a while. */
static void write_the_audit(struct sim *s) {
    for (unsigned i = 0; i < SETTLE_TURNS; i++) {
        s->now_ns += 10 * NS_PER_SECOND;
        run_turn(s);
    }
    s->quiet = true;
    ledger_finish(s);
}

static void sim_create(struct sim *s, const struct plan *plan, struct result *ret) {
    *s = (struct sim){.plan = *plan, .result = ret, .now_ns = START_NS, .real_ahead = REAL_BASE_NS};
    s->phase = PHASE_RUNNING;
    rng_init(&s->rng, sim_draw(s, 'm', 0));
    chance_seed(sim_draw(s, 'z', 0));
    s->disk = sim_disk_create(sim_draw(s, 'd', 0));
    sim_disk_set_capacity(s->disk, CAPACITY_BYTES);
    sim_disk_watch(s->disk, faults_watch, s);
    fill_options(s);
    s->clients = clients_create(s);
    s->providers = providers_create(s);
    s->letters = letters_create();
    s->units = units_create();
    s->parcels = parcels_create(s);
    s->broker = broker_create();
    s->shares = shares_create();
    s->outcomes = outcomes_create();
    s->ledger = ledger_create();
    s->slips = slips_create(s);
    s->chores = chores_create();
    s->tenants = tenants_create();
    s->desk_services = desk_services_create(s);
    s->shadow = shadow_create(&s->options.limits);
    traffic_facts(s);
}

static void sim_release(struct sim *s) {
    shadow_let_go(s);
    if (s->engine != NULL)
        engine_close(s->engine, false);
    shadow_free(s->shadow);
    clients_free(s->clients);
    providers_free(s->providers);
    letters_free(s->letters);
    units_free(s->units);
    broker_free(s->broker);
    shares_free(s->shares);
    outcomes_free(s->outcomes);
    ledger_free(s->ledger);
    slips_free(s->slips);
    chores_free(s->chores);
    tenants_free(s->tenants);
    desk_services_free(s->desk_services);
    parcels_free(s->parcels);
    sim_disk_free(s->disk);
}

static void note_stats(struct sim *s) {
    struct engine_stats stats;
    engine_stats(s->engine, &stats);
    s->result->snapshots += (uint32_t)stats.snapshots;
    s->result->moved += (uint32_t)stats.moved_messages;
    s->result->released += (uint32_t)stats.released_segments;
}

void run_plan(const struct plan *plan, struct result *ret) {
    struct sim *s = sim_alloc(sizeof(*s));
    sim_create(s, plan, ret);
    if (plan->import != NULL)
        import_folder(s, plan->import);
    faults_due(s);
    start_and_look(s);
    uint32_t audit_at = AUDIT_EVERY;
    while (ret->operations < plan->operations) {
        round_of(s);
        audit_now_and_then(s, &audit_at);
    }
    drain(s);
    if (!audit_run(s))
        sim_fail(s, "the engine died without a fault");
    note_stats(s);
    close_and_restart(s);
    write_the_audit(s);
    sim_release(s);
    free(s);
    ret->done = true;
}
