#include "model/user.h"

#include "base/error.h"
#include "model/model.h"

static enum refusal user_decide(const struct model *m, struct decision *d, struct request *r) {
    return REFUSAL_INVALID;
}

static int user_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                      struct reader *in) {
    return E_VERSION;
}

const struct module user_module = {
    .name = "user",
    .decide = user_decide,
    .apply = user_apply,
    .section_version = 1,
};
