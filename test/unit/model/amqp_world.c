#include "amqp_world.h"

struct world w;
struct buffer table;
struct amqp_table_out t;
const struct span none = {.size = 0};

int amqp_setup(void **state) {
    world_init(&w, NULL);
    buffer_init(&table, 4096);
    return 0;
}

static void check(void) {
    model_check(w.model);
    world_reload(&w);
    model_check(w.model);
    world_check_replay(&w);
}

static int release(void) {
    world_release(&w);
    buffer_release(&table);
    return 0;
}

int amqp_teardown(void **state) {
    check();
    return release();
}

int amqp_teardown_recovering(void **state) {
    check();
    rabbit_recover(&w);
    model_check(w.model);
    world_check_replay(&w);
    return release();
}

void begin(void) {
    buffer_clear(&table);
    amqp_table_begin(&t, &table);
}

struct span end(void) {
    return rabbit_arguments(&table, &t);
}
