#include "tenants.h"

#define TURNS_APART 2u

struct tenants {
    uint64_t starts[TENANTS][TENANTS]; /* [a][b]: of a since both a and b have messages */
};

const char *const tenant_names[TENANTS] = {NULL, "gold", "silver", "first", "second"};

struct tenants *tenants_create(void) {
    return sim_alloc(sizeof(struct tenants));
}

void tenants_free(struct tenants *t) {
    free(t);
}

uint32_t tenant_weight(const struct sim *s, unsigned tenant) {
    uint64_t draw = sim_draw(s, 'D', 30);
    return tenant == 1 ? 2 + (uint32_t)(draw % 6) : tenant == 2 ? 1 + (uint32_t)(draw >> 8) % 3 : 1;
}

void tenants_restart(struct sim *s) {
    *s->tenants = (struct tenants){0};
}

static void check_pair(struct sim *s, unsigned a, unsigned b, unsigned started) {
    uint64_t *mine = &s->tenants->starts[a][b], *others = &s->tenants->starts[b][a];
    if (s->slips->fresh[a] == 0 || s->slips->fresh[b] == 0) {
        *mine = *others = 0;
        return;
    }
    *mine += started == a;
    *others += started == b;
    uint64_t wa = tenant_weight(s, a), wb = tenant_weight(s, b);
    s->result->turns_of_tenants++;
    SIM_CHECK(s,
              *mine <= *others * wa / wb + TURNS_APART * wa + 1 &&
                  *others <= *mine * wb / wa + TURNS_APART * wb + 1,
              "tenants %u and %u of weights %llu and %llu have %llu and %llu starts", a, b,
              (unsigned long long)wa, (unsigned long long)wb, (unsigned long long)*mine,
              (unsigned long long)*others);
}

void tenants_start(struct sim *s, unsigned tenant) {
    if (s->looking) {
        tenants_restart(s);
        return;
    }
    for (unsigned a = 0; a < TENANTS; a++)
        for (unsigned b = a + 1; b < TENANTS; b++)
            check_pair(s, a, b, tenant);
}
