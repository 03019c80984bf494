#include "watch.h"

#define STARTS_LOOK 96u

/* A clock that catches up is at most 200 ppm fast. */
static uint64_t clock_slack(uint64_t ns) {
    return ns / 4000;
}

static uint32_t looser(uint32_t a, uint32_t b) {
    return a == 0 || b == 0 ? 0 : a > b ? a : b;
}

void watch_ask(struct watch *w, uint32_t count) {
    w->asked = true;
    w->asked_count = count;
    w->era++;
}

void watch_settle(struct watch *w, uint32_t count) {
    if (w->def.count == 0 || (w->asked && w->asked_count == 0 && w->def.count != count))
        watch_forget(w);
    w->def.count = count;
    w->asked = false;
    w->era++;
}

void watch_forget(struct watch *w) {
    w->first = w->event_count;
}

struct allowance watch_allows(const struct watch *w) {
    uint32_t count = w->asked ? looser(w->def.count, w->asked_count) : w->def.count;
    return (struct allowance){.count = count, .era = w->era};
}

static void note(struct sim *s, struct watch *w, uint64_t from_ns, uint64_t to_ns,
                 struct allowance allowed) {
    w->events[w->event_count++ % WATCH_RING] =
        (struct watch_event){from_ns, to_ns, s->jumped_ns, allowed};
}

static const struct watch_event *event_at(const struct watch *w, uint64_t back) {
    return &w->events[(w->event_count - back) % WATCH_RING];
}

/* Requests overtake one another on their way: what held for the one that left last is the measure. */
void watch_arrival(struct sim *s, struct watch *w, const char *name, struct allowance allowed,
                   uint64_t now) {
    uint64_t period_ns = w->def.period_ns - clock_slack(w->def.period_ns), seen = 1;
    note(s, w, now, now, allowed);
    if (allowed.count == 0)
        watch_forget(w);
    for (uint64_t back = 2; back <= WATCH_RING && w->first + back <= w->event_count; back++) {
        const struct watch_event *e = event_at(w, back);
        if (now - e->to_ns >= period_ns)
            break;
        allowed = e->allowed.era > allowed.era ? e->allowed : allowed;
        seen++;
    }
    SIM_CHECK(s, allowed.count == 0 || seen <= allowed.count,
              "%s sees %llu requests within %llu us, %u are allowed", name,
              (unsigned long long)seen, (unsigned long long)period_ns / 1000, allowed.count);
}

void watch_start(struct sim *s, struct watch *w, const char *name, uint64_t ahead_ns,
                 bool by_turns) {
    uint64_t now_ns = s->now_ns + ahead_ns;
    struct allowance allowed = watch_allows(w);
    uint32_t count = allowed.count;
    struct pace_def pace = w->def;
    for (uint64_t back = 1; count != 0 && back <= STARTS_LOOK && w->first + back <= w->event_count;
         back++) {
        const struct watch_event *e = event_at(w, back);
        uint64_t window = now_ns > e->from_ns ? now_ns - e->from_ns : 0;
        count = looser(count, e->allowed.count);
        if (count == 0)
            break;
        pace.count = count;
        window += clock_slack(window);
        if (pace.period_ns > TIMEKEEPER_HOLD_MIN_NS)
            window += s->jumped_ns - e->jumped_ns;
        uint64_t most = (by_turns ? 1 : pace_burst(&pace)) + 1 + window / (pace.period_ns / count);
        SIM_CHECK(s, back + 1 <= most, "%llu starts within %llu us at %s, %llu are allowed",
                  (unsigned long long)back + 1, (unsigned long long)window / 1000, name,
                  (unsigned long long)most);
    }
    note(s, w, s->turn_ns + ahead_ns, now_ns, allowed);
}
