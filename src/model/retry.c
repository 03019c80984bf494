#include "model/retry.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/u64.h"
#include "model/destination.h"
#include "model/request.h"

static uint64_t multiply(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/*
 * As Cloud Tasks does it: min, 2 min, 4 min, ... for max_doublings steps, from there on by the last
 * step each time, never above max. 10 s, 3 doublings, 300 s: 10 20 40 80 160 240 300 300.
 */
uint64_t retry_backoff_ns(const struct retry_def *r, uint32_t attempt) {
    uint64_t failed_before = attempt > 0 ? attempt - 1 : 0;
    if (r->backoffs.count > 0) {
        return r->backoffs.ms[u64_min(failed_before, r->backoffs.count - 1)] * NS_PER_MS;
    }
    uint64_t doublings = u64_min(u64_min(failed_before, r->max_doublings), 63);
    uint64_t backoff_ns = multiply(r->min_backoff_ns, UINT64_C(1) << doublings);
    if (failed_before > r->max_doublings) {
        backoff_ns = multiply(backoff_ns, failed_before - r->max_doublings + 1);
    }
    return u64_min(backoff_ns, r->max_backoff_ns);
}

#define ALL_OF_0_1                                                                                 \
    0x3fu /* of 0.1.0, which had no ATTEMPT_BROKEN, and showed no bits as these: still all */

/* Bit n: error n + 1, from ATTEMPT_CONNECT to ATTEMPT_ADDRESS_REFUSED; the next one ATTEMPT_BROKEN. No bits: all. */
bool retry_takes_error(const struct retry_def *d, uint8_t error) {
    bool known = error >= ATTEMPT_CONNECT && error <= ATTEMPT_ADDRESS_REFUSED;
    if (d->errors == 0 || d->errors == ALL_OF_0_1 || !(known || error == ATTEMPT_BROKEN)) {
        return true;
    }
    return d->errors >> (known ? error - ATTEMPT_CONNECT : ATTEMPT_ADDRESS_REFUSED) & 1;
}

bool retry_takes_status(const struct retry_def *d, const char *usual, uint16_t status) {
    return status_list_has(d->statuses[0] != '\0' ? d->statuses : usual, status);
}

static int put_backoffs(const struct backoff_list *l, struct buffer *out) {
    int rc = buffer_put_u8(out, (uint8_t)l->count);
    for (uint32_t i = 0; i < l->count && rc == 0; i++) {
        rc = buffer_put_u32(out, l->ms[i]);
    }
    return rc;
}

static int put_statuses(const char *statuses, struct buffer *out) {
    size_t size = strlen(statuses);
    if (size > RETRY_STATUSES_MAX_BYTES) {
        return E_INVALID;
    }
    int rc = buffer_put_u8(out, (uint8_t)size);
    return rc != 0 ? rc : buffer_append(out, statuses, size + 1);
}

static int put_member(const struct retry_def *d, enum retry_member member, struct buffer *out) {
    switch (member) {
    case RETRY_MAX_ATTEMPTS:
        return buffer_put_u32(out, d->max_attempts);
    case RETRY_MIN_BACKOFF:
        return buffer_put_u64(out, d->min_backoff_ns);
    case RETRY_MAX_BACKOFF:
        return buffer_put_u64(out, d->max_backoff_ns);
    case RETRY_MAX_DOUBLINGS:
        return buffer_put_u32(out, d->max_doublings);
    case RETRY_MAX_DURATION:
        return buffer_put_u64(out, d->max_duration_ns);
    case RETRY_BACKOFFS:
        return put_backoffs(&d->backoffs, out);
    case RETRY_ERRORS:
        return buffer_put_u32(out, d->errors);
    case RETRY_STATUSES:
        return put_statuses(d->statuses, out);
    case RETRY_MEMBERS:
        break;
    }
    return E_INVALID;
}

int retry_override_encode(const struct retry_def *d, uint8_t members, struct buffer *out) {
    int rc = buffer_put_u8(out, members);
    for (int i = 0; i < RETRY_MEMBERS && rc == 0; i++) {
        rc = members >> i & 1 ? put_member(d, (enum retry_member)i, out) : 0;
    }
    return rc;
}

static void take_backoffs(struct reader *r, struct backoff_list *ret) {
    *ret = (struct backoff_list){.count = reader_u8(r)};
    if (ret->count > RETRY_BACKOFFS_MAX) {
        r->failed = true;
        return;
    }
    for (uint32_t i = 0; i < ret->count; i++) {
        ret->ms[i] = reader_u32(r);
    }
}

/* What stands there is as it was checked, or the bytes are corrupt. */
static void take_statuses(struct reader *r, char **ret) {
    size_t size = reader_u8(r);
    struct span text = reader_take(r, size + 1);
    if (r->failed || text.data[size] != '\0' || !status_list_valid((const char *)text.data)) {
        r->failed = true;
        return;
    }
    *ret = (char *)text.data;
}

static void take_member(struct retry_def *d, enum retry_member member, struct reader *r) {
    switch (member) {
    case RETRY_MAX_ATTEMPTS:
        d->max_attempts = reader_u32(r);
        return;
    case RETRY_MIN_BACKOFF:
        d->min_backoff_ns = reader_u64(r);
        return;
    case RETRY_MAX_BACKOFF:
        d->max_backoff_ns = reader_u64(r);
        return;
    case RETRY_MAX_DOUBLINGS:
        d->max_doublings = reader_u32(r);
        return;
    case RETRY_MAX_DURATION:
        d->max_duration_ns = reader_u64(r);
        return;
    case RETRY_BACKOFFS:
        take_backoffs(r, &d->backoffs);
        return;
    case RETRY_ERRORS:
        d->errors = reader_u32(r);
        return;
    case RETRY_STATUSES:
        take_statuses(r, &d->statuses);
        return;
    case RETRY_MEMBERS:
        return;
    }
}

int retry_override_apply(struct span bytes, struct retry_def *d) {
    if (bytes.size == 0) {
        return 0;
    }
    struct retry_def next = *d;
    struct reader r;
    reader_init(&r, bytes);
    uint8_t members = reader_u8(&r); /* each bit is one */
    for (int i = 0; i < RETRY_MEMBERS; i++) {
        if (members >> i & 1) {
            take_member(&next, (enum retry_member)i, &r);
        }
    }
    if (!reader_done(&r)) {
        return E_CORRUPT;
    }
    *d = next;
    return 0;
}
