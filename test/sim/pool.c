#include "pool.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 16u
/* Of a run that works for ever, and of one that waits for ever: a busy machine, or a pause of the whole
   simulator, is no hang. */
#define SPIN_SECONDS 120
#define HANG_SECONDS 1800u

struct job {
    pid_t child; /* 0: free */
    struct plan plan;
    struct outcome outcome;
    int text; /* file in memory: its stderr */
};

struct pool {
    struct job jobs[JOBS_MAX];
    unsigned job_count;
};

static void job_init(struct job *j) {
    j->outcome.result = mmap(NULL, sizeof(struct result), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    j->text = memfd_create("sim", MFD_CLOEXEC);
    assert(j->outcome.result != MAP_FAILED && j->text >= 0);
}

struct pool *pool_create(unsigned jobs) {
    struct pool *p = calloc(1, sizeof(*p));
    assert(p != NULL);
    p->job_count = jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : jobs;
    for (unsigned i = 0; i < p->job_count; i++)
        job_init(&p->jobs[i]);
    return p;
}

void pool_free(struct pool *p) {
    for (unsigned i = 0; i < p->job_count; i++) {
        munmap(p->jobs[i].outcome.result, sizeof(struct result));
        close(p->jobs[i].text);
    }
    free(p);
}

unsigned pool_running(const struct pool *p) {
    unsigned running = 0;
    for (unsigned i = 0; i < p->job_count; i++)
        running += p->jobs[i].child != 0;
    return running;
}

bool pool_has_place(const struct pool *p) {
    return pool_running(p) < p->job_count;
}

static void child_main(struct job *j) {
    static const struct itimerval spin = {.it_value.tv_sec = SPIN_SECONDS};
    dup2(j->text, STDERR_FILENO);
    alarm(HANG_SECONDS);
    setitimer(ITIMER_PROF, &spin, NULL);
    run_plan(&j->plan, j->outcome.result);
    _exit(0);
}

void pool_start(struct pool *p, const struct plan *plan) {
    struct job *j = p->jobs;
    while (j->child != 0)
        j++;
    j->plan = *plan;
    memset(j->outcome.result, 0, sizeof(struct result));
    int error = ftruncate(j->text, 0);
    assert(error == 0);
    lseek(j->text, 0, SEEK_SET);
    j->child = fork();
    assert(j->child >= 0);
    if (j->child == 0)
        child_main(j);
}

static bool hung(int signal) {
    return signal == SIGALRM || signal == SIGPROF;
}

/* The end of what it wrote, and how it ended. */
static void read_text(struct job *j, int status) {
    off_t size = lseek(j->text, 0, SEEK_END);
    off_t room = sizeof(j->outcome.text) - 64;
    ssize_t got = pread(j->text, j->outcome.text, (size_t)room, size > room ? size - room : 0);
    char *end = j->outcome.text + (got > 0 ? got : 0);
    *end = '\0';
    if (WIFSIGNALED(status))
        snprintf(end, 64, "%s\n",
                 hung(WTERMSIG(status)) ? "it hangs" : strsignal(WTERMSIG(status)));
}

const struct outcome *pool_wait(struct pool *p, struct plan *ret_plan) {
    int status;
    pid_t child = waitpid(-1, &status, 0);
    assert(child > 0);
    for (unsigned i = 0; i < p->job_count; i++) {
        struct job *j = &p->jobs[i];
        if (j->child != child)
            continue;
        j->child = 0;
        j->outcome.result->done &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
        read_text(j, status);
        *ret_plan = j->plan;
        return &j->outcome;
    }
    assert(!"a child of nobody");
    return NULL;
}

bool pool_run_one(struct pool *p, const struct plan *plan, const struct outcome **ret) {
    struct plan ignored;
    assert(pool_running(p) == 0);
    pool_start(p, plan);
    *ret = pool_wait(p, &ignored);
    return (*ret)->result->done;
}
