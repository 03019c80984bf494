#include "worker.h"

#include <assert.h>

enum refusal worker_start(struct world *w, struct worker_job job, uint64_t *ret_id) {
    struct request r;
    request_init(&r, REQUEST_JOB_START);
    r.name = span_text(job.queue);
    r.actor = span_text(job.actor != NULL ? job.actor : "");
    r.in.job_start = (struct job_start){
        .action = job.action,
        .state = job.state,
        .to = span_text(job.to != NULL ? job.to : ""),
        .interval_ns = job.interval_ns,
        .filter = span_text("{}"),
    };
    enum refusal refusal = world_ask(w, &r);
    *ret_id = refusal == REFUSAL_NONE ? r.id : 0;
    request_release(&r);
    return refusal;
}

static bool next(struct world *w, struct job_info *ret, char queue[NAME_MAX_BYTES + 1]) {
    struct request r;
    request_init(&r, REQUEST_JOB_NEXT);
    enum refusal refusal = world_ask(w, &r);
    bool due = refusal == REFUSAL_NONE && r.count == 1 && r.next == 0;
    if (due) {
        struct reader in;
        reader_init(&in, buffer_span(&r.out_bytes));
        memcpy(ret, reader_take(&in, sizeof *ret).data, sizeof *ret);
        (void)reader_u32(&in);
        struct span name = reader_bytes(&in);
        assert(!in.failed && name.size <= NAME_MAX_BYTES);
        memcpy(queue, name.data, name.size);
        queue[name.size] = '\0';
    }
    request_release(&r);
    return due;
}

static uint32_t fill(const struct request *list, struct job_item items[JOB_BATCH_MAX]) {
    for (uint32_t i = 0; i < list->count; i++) {
        struct message_info m;
        memcpy(&m, list->out_bytes.data + i * sizeof m, sizeof m);
        items[i] = (struct job_item){.id = m.id};
    }
    return (uint32_t)list->count;
}

bool worker_step(struct world *w, const struct message_filter *filter, uint32_t max,
                 enum refusal *ret_refusal) {
    struct job_info info;
    char queue[NAME_MAX_BYTES + 1];
    if (!next(w, &info, queue)) {
        return false;
    }
    struct message_filter all = {.reason = DEAD_NONE};
    struct job_item items[JOB_BATCH_MAX];
    struct request list, step;
    all = filter != NULL ? *filter : all;
    all.changed_to_ns = info.began_ns + 1;
    request_init(&list, REQUEST_QUEUE_MESSAGES);
    list.name = span_text(queue);
    list.in.list.state = info.state;
    list.in.list.after = info.cursor;
    list.in.list.in_order = true;
    list.in.list.max = max < JOB_BATCH_MAX ? max : JOB_BATCH_MAX;
    list.in.list.filter = &all;
    enum refusal refusal = world_ask(w, &list);
    request_init(&step, REQUEST_JOB_STEP);
    step.name = span_text(queue);
    step.id = info.id;
    step.in.job_step = (struct job_step){
        .step = info.steps,
        .items = items,
        .count = refusal == REFUSAL_NONE ? fill(&list, items) : 0,
        .visited = list.visited,
        .cursor = refusal == REFUSAL_NONE ? list.next : 0,
        .end = refusal == REFUSAL_NONE ? list.next == 0 : refusal == REFUSAL_NOT_FOUND,
    };
    *ret_refusal = world_ask(w, &step);
    request_release(&list);
    request_release(&step);
    return true;
}

struct job_info worker_look(struct world *w, const char *queue, uint64_t id) {
    struct request r;
    struct job_info info = {.id = 0};
    request_init(&r, REQUEST_JOB_GET);
    r.name = span_text(queue);
    r.id = id;
    if (world_ask(w, &r) == REFUSAL_NONE) {
        memcpy(&info, r.out_bytes.data, sizeof info);
    }
    request_release(&r);
    return info;
}
