#include "model/session.h"

#include "base/error.h"
#include "model/model.h"

static enum refusal session_decide(const struct model *m, struct decision *d, struct request *r) {
    return REFUSAL_INVALID;
}

static int session_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                         struct reader *in) {
    return E_VERSION;
}

const struct module session_module = {
    .name = "session",
    .decide = session_decide,
    .apply = session_apply,
    .section_version = 1,
};
