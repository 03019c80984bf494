#include "dispatch/plain.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/u64.h"

#define READ_BYTES   (64u << 10)
#define READS_A_TURN 16u /* then others have theirs */

struct plain {
    struct plains *all;       /* borrows */
    struct list *kept;        /* borrows: as long as it is idle or asked */
    struct list_node in_kept; /* linked while idle, */
    struct list_node in_idle; /* both */
    struct watch *watch;      /* owns, with its socket */
    uv_timer_t timer;         /* its closing frees this */
    uint64_t timer_ns;        /* rings then; 0: it does not */
    uint64_t deadline_ns;     /* of the request or of being idle */
    uint64_t opened_ns;
    struct buffer head;
    struct plain_request request;
    struct answer answer;
    size_t sent;     /* of head and body */
    bool asked;      /* a request is under way */
    bool silent;     /* counted in plains.silent */
    bool unwritable; /* the far side takes nothing any more */
    bool broken;     /* nothing can be read any more, and not because it ended */
};

int plains_init(struct plains *all, struct transport *transport) {
    *all = (struct plains){.transport = transport, .bytes = malloc(READ_BYTES)};
    list_init(&all->idle);
    return all->bytes != NULL ? 0 : E_NOMEM;
}

void plains_release(struct plains *all) {
    assert(list_empty(&all->idle) && all->asked == 0);
    free(all->bytes);
    all->bytes = NULL;
}

bool plains_are_silent(const struct plains *all) {
    return all->silent == all->asked;
}

/* ---- time ---- */

static void set_timer(struct plain *p, uint64_t now_ns);

static void set_silent(struct plain *p, bool silent) {
    p->all->silent += (uint32_t)silent - (uint32_t)p->silent;
    p->silent = silent;
}

static void leave_idle(struct plain *p) {
    list_remove(&p->in_kept);
    list_remove(&p->in_idle);
}

static void on_timer_closed(uv_handle_t *timer) {
    struct plain *p = timer->data;
    buffer_release(&p->head);
    free(p);
}

static void leave_asked(struct plain *p) {
    set_silent(p, false);
    p->all->asked--;
    p->asked = false;
}

void plain_close(struct plain *p) {
    if (p->asked) {
        leave_asked(p);
    }
    if (list_linked(&p->in_idle)) {
        leave_idle(p);
    }
    transport_drop(p->all->transport, p->watch);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

static void keep(struct plain *p) {
    leave_asked(p);
    list_prepend(p->kept, &p->in_kept);
    list_append(&p->all->idle, &p->in_idle);
    p->deadline_ns = clock_monotonic_ns() + PLAIN_IDLE_NS; /* the timer rings before that */
}

/* Closed or kept before it is told, so that whoever is told may ask it again. */
static void end(struct plain *p, enum attempt_error error) {
    struct plain_request request = p->request;
    struct plain_end e = {.error = error,
                          .status = p->answer.status,
                          .enough = p->answer.state == ANSWER_ENOUGH,
                          .not_understood = p->answer.not_understood};
    if (error == ATTEMPT_OK && p->answer.retry_after_size > 0) {
        e.retry_after_s = answer_retry_after_s(&p->answer, clock_real_ns() / NS_PER_SECOND);
    }
    if (error == ATTEMPT_OK && p->answer.lives) {
        keep(p);
    } else {
        plain_close(p);
    }
    request.done(request.context, &e);
}

static void on_timer(uv_timer_t *timer) {
    struct plain *p = timer->data;
    uint64_t now_ns = clock_monotonic_ns();
    p->timer_ns = 0;
    if (now_ns < p->deadline_ns) {
        set_timer(p, now_ns);
    } else if (p->asked) {
        end(p, ATTEMPT_TIMEOUT);
    } else {
        plain_close(p);
    }
}

/* Deadlines mostly move away: the timer is left alone then, and set anew when it rings for nothing. */
static void set_timer(struct plain *p, uint64_t now_ns) {
    if (p->timer_ns != 0 && p->timer_ns <= p->deadline_ns) {
        return;
    }
    uint64_t ms = p->deadline_ns > now_ns ? (p->deadline_ns - now_ns) / NS_PER_MS + 1 : 0;
    p->timer_ns = p->deadline_ns;
    uv_timer_start(&p->timer, on_timer, ms,
                   0); /* cannot fail: it has a callback and is not closing */
}

/* ---- a request and its answer ---- */

static size_t request_bytes(const struct plain *p) {
    return p->head.size + p->request.body.size;
}

static bool has_left(const struct plain *p) {
    return p->sent == request_bytes(p);
}

/* What is left of head and body. Fewer bytes than that: the socket is full, or takes nothing any more. */
static void send_rest(struct plain *p) {
    size_t of_head = p->sent < p->head.size ? p->head.size - p->sent : 0;
    size_t of_body = request_bytes(p) - p->sent - of_head;
    struct iovec parts[2] = {
        {.iov_base = p->head.data + p->head.size - of_head, .iov_len = of_head},
        {.iov_base = (uint8_t *)p->request.body.data + p->request.body.size - of_body,
         .iov_len = of_body}};
    struct msghdr message = {.msg_iov = of_head > 0 ? parts : parts + 1,
                             .msg_iovlen = (of_head > 0) + (of_body > 0)};
    ssize_t size;
    do {
        size = sendmsg(transport_socket(p->watch), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    p->sent += size > 0 ? (size_t)size : 0;
    p->unwritable = size < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM;
}

/* Nothing is read while an answer that was too early waits for the rest of its request. */
static int watch_on(struct plain *p) {
    int events = p->answer.state == ANSWER_WHOLE ? 0 : UV_READABLE;
    events |= has_left(p) || p->unwritable ? 0 : UV_WRITABLE;
    return transport_watch(p->watch, events);
}

/* True: more may be there. */
static bool read_some(struct plain *p) {
    ssize_t size;
    do {
        size = recv(transport_socket(p->watch), p->all->bytes, READ_BYTES, MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size > 0) {
        (void)answer_take(&p->answer, span_of(p->all->bytes, (size_t)size));
    } else if (size == 0) {
        (void)answer_end(&p->answer);
    } else {
        p->broken = p->broken || errno != EAGAIN;
    }
    p->answer.lives = p->answer.lives && size < READ_BYTES; /* else something may lie there still */
    return size == READ_BYTES && p->answer.state == ANSWER_AWAITED;
}

/* What has left may have been done. */
static enum attempt_error broke(const struct plain *p) {
    return p->sent > 0 ? ATTEMPT_BROKEN : ATTEMPT_CONNECT;
}

/* Whether the attempt is over, and how. */
static bool is_over(const struct plain *p, enum attempt_error *ret) {
    bool answered = p->answer.state == ANSWER_WHOLE;
    *ret = ATTEMPT_OK;
    if (p->answer.state == ANSWER_ENOUGH ||
        (answered && (has_left(p) || p->answer.status >= 400))) {
        return true;
    }
    if (p->answer.state == ANSWER_BAD && p->answer.begun) {
        *ret = ATTEMPT_PROTOCOL;
        return true;
    }
    *ret = broke(p);
    return p->answer.state == ANSWER_BAD || p->broken || (answered && p->unwritable);
}

static void on_ready(void *context, int status, int events) {
    struct plain *p = context;
    if (!p->asked) {
        plain_close(p); /* it ended, or it says something that nobody asked for */
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        send_rest(p);
    }
    if (p->answer.state == ANSWER_AWAITED && ((events & UV_READABLE) != 0 || status < 0)) {
        for (unsigned i = 0; read_some(p) && i < READS_A_TURN; i++) {
        }
    }
    if (p->answer.begun) {
        p->deadline_ns = p->request.deadline_ns; /* the timer rings before that */
    }
    p->broken = p->broken || status < 0;
    p->answer.lives = p->answer.lives && has_left(p) && !p->broken;
    set_silent(p, has_left(p) && !p->answer.begun);
    enum attempt_error error;
    if (is_over(p, &error)) {
        end(p, error);
    } else if (watch_on(p) != 0) {
        end(p, broke(p));
    }
}

void plain_ask(struct plain *p, const struct plain_request *request) {
    assert(!p->asked && !list_linked(&p->in_idle));
    p->request = *request;
    p->sent = 0;
    p->unwritable = p->broken = false;
    answer_init(&p->answer, request->to_head, request->take, request->context);
    p->asked = true;
    p->all->asked++;
    uint64_t now_ns = clock_monotonic_ns();
    p->deadline_ns = request->first_byte_within_ns == 0
                         ? request->deadline_ns
                         : u64_min(request->deadline_ns, now_ns + request->first_byte_within_ns);
    set_timer(p, now_ns);
    send_rest(p);
    set_silent(p, has_left(p));
    (void)watch_on(p); /* if it cannot be, time ends it */
}

/* ---- connections ---- */

struct plain *plain_open(struct plains *all, struct list *kept) {
    struct plain *p = calloc(1, sizeof *p);
    struct watch *w = transport_take(all->transport, on_ready, p);
    if (p == NULL || w == NULL) {
        if (w != NULL) {
            transport_drop(all->transport, w);
        }
        free(p);
        return NULL;
    }
    p->all = all;
    p->kept = kept;
    p->watch = w;
    p->opened_ns = clock_monotonic_ns();
    p->timer.data = p;
    uv_timer_init(all->transport->loop, &p->timer); /* cannot fail */
    buffer_init(&p->head, PLAIN_HEAD_MAX_BYTES);
    return p;
}

void plains_look_follows(struct plains *all, uint64_t now_ns) {
    all->looked_ns = now_ns;
}

/* Neither a byte nor an end came since the loop looked: what lies there would be the next answer. */
static bool is_quiet(const struct plain *p) {
    char byte;
    ssize_t size;
    do {
        size = recv(transport_socket(p->watch), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    return size < 0 && errno == EAGAIN;
}

struct plain *plain_take(struct list *kept, uint64_t now_ns) {
    struct list_node *n;
    while ((n = list_first(kept)) != NULL) {
        struct plain *p = CONTAINER_OF(n, struct plain, in_kept);
        bool looked = now_ns - p->all->looked_ns < PLAIN_LOOKED_NS;
        if (now_ns - p->opened_ns < PLAIN_LIFE_NS && (looked || is_quiet(p))) {
            leave_idle(p);
            return p;
        }
        plain_close(p);
    }
    return NULL;
}

struct buffer *plain_head(struct plain *p) {
    buffer_clear(&p->head);
    return &p->head;
}

void plains_close_kept(struct list *kept) {
    struct list_node *n;
    while ((n = list_first(kept)) != NULL) {
        plain_close(CONTAINER_OF(n, struct plain, in_kept));
    }
}

bool plains_close_idlest(struct plains *all) {
    struct list_node *n = list_first(&all->idle);
    if (n != NULL) {
        plain_close(CONTAINER_OF(n, struct plain, in_idle));
    }
    return n != NULL;
}
