#include "model/exchange.h"

#include "base/error.h"
#include "model/model.h"

static enum refusal exchange_decide(const struct model *m, struct decision *d, struct request *r) {
    return REFUSAL_INVALID;
}

static int exchange_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                          struct reader *in) {
    return E_VERSION;
}

const struct module exchange_module = {
    .name = "exchange",
    .decide = exchange_decide,
    .apply = exchange_apply,
    .section_version = 1,
};
