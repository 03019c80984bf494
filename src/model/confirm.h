/*
 * model/confirm.h - messages that were taken by the far side (202), and whose outcome somebody tells later.
 *
 * Promise: such a message waits, its ordering key with it, until it is told what became of it, or its deadline is over.
 *          What is told counts once: the same again changes nothing, something else is refused. What is told
 *          before the attempt has ended is kept and settles it when it ends, however it ends.
 *
 *      in flight --202--> confirming --succeeded--> done
 *          |                  |--------failed-----> dead
 *          |                  +--retry, deadline--> delayed, or dead when its attempts are used up
 *          +-- was told before: done, dead or delayed at once
 *
 * Shape:   the attempt's cell stays in the table while its message is confirming, and says where it went.
 * Source:  docs/guide/queues.md.
 */
#ifndef SLUICE_MODEL_CONFIRM_H
#define SLUICE_MODEL_CONFIRM_H

#include "model/destination_state.h"

/* What an outcome makes of a message whose attempt is `a`. */
struct confirm_verdict {
    enum verdict verdict;
    enum dead_reason reason;
    uint64_t at_ns; /* of a retry */
};
struct confirm_verdict confirm_judge(const struct model *m, struct decision *d,
                                     const struct attempt *a, const struct message_view *v,
                                     enum confirm_outcome outcome, struct span retry);
/* CONFIRM: NONE (also when it was told before), NOT_FOUND, CONFLICT. */
enum refusal confirm_decide(const struct model *m, struct decision *d, struct request *r);
/* The deadline of a message that is confirming is over. */
void confirm_emit_missed(const struct model *m, struct decision *d, uint64_t message);
MUST_CHECK int confirm_apply(struct model *m, const struct applied *w, struct reader *in);

#endif
