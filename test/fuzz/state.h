/*
 * test/fuzz/state.h - a model with something of everything, for targets that need one.
 *
 * Promise: the same state each time: queues (one pushed to a destination), stocks (one with holds), a campaign,
 *          messages and purchases in every state, one attempt under way, one that ended badly.
 * Shape:   decided once through model_decide; every run then loads a copy from its snapshot.
 */
#ifndef SLUICE_TEST_FUZZ_STATE_H
#define SLUICE_TEST_FUZZ_STATE_H

#include "base/buffer.h"
#include "model/model.h"

struct fuzz_state {
    struct buffer snapshot; /* as model_save wrote it */
    struct buffer log; /* every record: u64 time, u64 position, sized facts; address = position */
    uint64_t position; /* of the next record */
    uint64_t now_ns;
};

/* Made at the first call, kept until the process ends. */
const struct fuzz_state *fuzz_state(void);

/* An empty model, and one that is loaded with the state. The caller frees. */
struct model *fuzz_model_empty(void);
struct model *fuzz_model_loaded(void);

/* model_save into an initialised buffer, which is cleared before. */
void fuzz_model_save(const struct model *m, struct buffer *out);

/*
 * What the program promises of a state that it took, whatever it was made of: its invariants hold, its snapshot
 * loads, and saves as the same bytes; timers, recovery and starts of attempts go on from it.
 */
void fuzz_model_exercise(struct model *m, uint64_t now_ns, uint64_t position);

#endif
