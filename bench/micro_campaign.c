/*
 * bench/micro_campaign.c - what the model alone costs for a campaign entry: decide + apply, no disk.
 *
 *      bench-campaign [entries] [with-queue]
 *
 * Prints, for each tenth of the way, the mean CPU time of an entry (so that a busy machine does not
 * show) and the slowest single one by the clock on the wall (growing tables would show there), then the
 * refusals, the memory of an entry and the CPU time of a snapshot and its load.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "model/model.h"

#define FACTS_MAX ((size_t)1 << 20)
#define STEPS     10u

static struct model *model;
static struct buffer facts;
static struct rng rng;
static uint64_t position = 1;
static const struct hash_key hash_key = {0x0123456789abcdef, 0xfedcba9876543210};

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

static void must(int rc) {
    if (rc != 0) {
        fprintf(stderr, "failed: %d\n", rc);
        exit(1);
    }
}

static enum refusal ask(struct request *r) {
    buffer_clear(&facts);
    struct decision d = {
        .now_ns = position * 1000,
        .position = position,
        .random = &rng,
        .may_grow = true,
        .facts = &facts,
    };
    enum refusal refusal = model_decide(model, &d, r);
    if (facts.size > 0) {
        struct applied where = {.time_ns = d.now_ns, .position = position, .address = position};
        must(model_apply(model, &where, buffer_span(&facts)));
        position++;
    }
    return refusal;
}

static void define(uint64_t units, bool with_queue) {
    struct stock_def stock;
    struct queue_def queue;
    struct campaign_def campaign;
    struct request r;
    must(stock_def_init(&stock));
    must(queue_def_init(&queue));
    must(campaign_def_init(&campaign));
    must(def_set_text(&stock.name, span_text("vouchers")));
    must(def_set_text(&queue.name, span_text("send")));
    must(def_set_text(&campaign.name, span_text("give")));
    must(def_set_text(&campaign.stock, span_text("vouchers")));
    must(def_set_text(&campaign.queue, span_text(with_queue ? "send" : "")));
    must(def_set_text(&campaign.member_pointer, span_text("/member")));
    stock.total = units;
    stock.per_member = 1;
    request_init(&r, REQUEST_STOCK_DEFINE);
    r.in.define.stock = &stock;
    must((int)ask(&r));
    r.kind = REQUEST_QUEUE_DEFINE;
    r.in.define.queue = &queue;
    must((int)ask(&r));
    r.kind = REQUEST_CAMPAIGN_DEFINE;
    r.in.define.campaign = &campaign;
    must((int)ask(&r));
    request_release(&r);
    stock_def_release(&stock);
    queue_def_release(&queue);
    campaign_def_release(&campaign);
}

/* Eleven digits, no two alike, in no order, as people come. */
static enum refusal enter(uint64_t n) {
    char member[32], body[64];
    int size = snprintf(member, sizeof member, "%011llu",
                        (unsigned long long)(n * UINT64_C(30000000077) % UINT64_C(100000000000)));
    int body_size = snprintf(body, sizeof body, "{\"member\":\"%s\",\"survey\":17}", member);
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTER);
    r.name = span_text("give");
    r.in.enter.generation = 1;
    r.in.enter.member = span_of(member, (size_t)size);
    r.in.enter.envelope.content_type = span_text("application/json");
    r.in.enter.envelope.body = span_of(body, (size_t)body_size);
    enum refusal refusal = ask(&r);
    request_release(&r);
    return refusal;
}

static void measure_entries(uint64_t entries) {
    printf("%12s %10s %12s\n", "entries", "ns each", "slowest us");
    for (uint64_t done = 0, step = entries / STEPS; done < entries; done += step) {
        uint64_t began = cpu_ns(), slowest = 0, before = clock_monotonic_ns();
        for (uint64_t n = done; n < done + step; n++) {
            must((int)enter(n));
            uint64_t now = clock_monotonic_ns();
            slowest = now - before > slowest ? now - before : slowest;
            before = now;
        }
        printf("%12llu %10.0f %12.1f\n", (unsigned long long)(done + step),
               (double)(cpu_ns() - began) / (double)step, (double)slowest / 1000);
    }
}

static void measure_refusals(uint64_t entries, uint64_t first, enum refusal expected) {
    uint64_t count = entries / STEPS, began = cpu_ns();
    for (uint64_t n = first; n < first + count; n++) {
        must(enter(n) == expected ? 0 : 1);
    }
    printf("%-16s %6.0f ns each\n", refusal_name(expected),
           (double)(cpu_ns() - began) / (double)count);
}

static int append(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

static void measure_snapshot(uint64_t entries) {
    struct buffer bytes;
    struct model *loaded;
    buffer_init(&bytes, SIZE_MAX / 2);
    uint64_t began = cpu_ns();
    must(model_save(model, append, &bytes));
    uint64_t saved = cpu_ns();
    must(model_create(&(struct model_limits){0}, hash_key, &loaded));
    must(model_load(loaded, buffer_span(&bytes)));
    uint64_t ended = cpu_ns();
    printf("snapshot         %.2f s, %.0f bytes an entry; load %.2f s\n",
           (double)(saved - began) / NS_PER_SECOND, (double)bytes.size / (double)entries,
           (double)(ended - saved) / NS_PER_SECOND);
    model_free(loaded);
    buffer_release(&bytes);
}

int main(int argc, char **argv) {
    uint64_t entries = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    bool with_queue = argc > 2;
    rng_init(&rng, 1);
    buffer_init(&facts, FACTS_MAX);
    must(model_create(&(struct model_limits){0}, hash_key, &model));
    uint64_t empty = model_memory_bytes(model);
    define(entries, with_queue);
    measure_entries(entries);
    measure_refusals(entries, 0, REFUSAL_ALREADY_CLAIMED);
    measure_refusals(entries, entries, REFUSAL_SOLD_OUT);
    printf("memory           %.0f bytes an entry%s\n",
           (double)(model_memory_bytes(model) - empty) / (double)entries,
           with_queue ? ", its queued message included" : "");
    measure_snapshot(entries);
    model_free(model);
    buffer_release(&facts);
    return 0;
}
