/* sim_os: the machine: time, events in their order, fibers and processes. See sim.h. */
#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 1 << 20, STORY_LINES = 600, STORY_WIDTH = 240 };

struct event {
    uint64_t at, order;
    void (*fn)(void *arg, uint64_t x);
    void *arg;
    uint64_t x;
};

struct options sim_options;
struct tally *sim_tally;
uint64_t sim_now_us;
struct proc sim_procs[SIM_PROCS];

static struct {
    struct event *heap;
    size_t n, cap;
    uint64_t order, random, digest;
    struct fiber *current;
    ucontext_t context;
    void *fake;
    const void *stack;
    size_t stack_size;
    void *spare[64];
    size_t n_spare;
    char (*story)[STORY_WIDTH];
    uint64_t lines;
} os;

static void on_signal(int number);

/* random numbers: xorshift64* (Vigna 2016) */

uint64_t sim_random(uint64_t below)
{
    os.random ^= os.random >> 12;
    os.random ^= os.random << 25;
    os.random ^= os.random >> 27;
    return below == 0 ? os.random * 0x2545f4914f6cdd1dULL : (os.random * 0x2545f4914f6cdd1dULL >> 11) % below;
}

bool sim_chance(unsigned per_10000)
{
    return per_10000 > 0 && sim_random(10000) < per_10000;
}

void sim_mix(uint64_t x)
{
    os.digest = (os.digest ^ x) * 0x100000001b3ULL;
    os.digest ^= os.digest >> 29;
}

/* events */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void sift_up(size_t i)
{
    struct event e = os.heap[i];

    for (; i > 0 && earlier(&e, &os.heap[(i - 1) / 2]); i = (i - 1) / 2)
        os.heap[i] = os.heap[(i - 1) / 2];
    os.heap[i] = e;
}

static void sift_down(void)
{
    struct event e = os.heap[--os.n];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < os.n) {
        if (child + 1 < os.n && earlier(&os.heap[child + 1], &os.heap[child]))
            child++;
        if (!earlier(&os.heap[child], &e))
            break;
        os.heap[i] = os.heap[child];
        i = child;
    }
    os.heap[i] = e;
}

void sim_at(uint64_t delay_us, void (*fn)(void *arg, uint64_t x), void *arg, uint64_t x)
{
    if (os.n == os.cap) {
        os.cap = os.cap == 0 ? 1024 : os.cap * 2;
        os.heap = realloc(os.heap, os.cap * sizeof *os.heap);
        assert(os.heap != NULL);
    }
    os.heap[os.n] = (struct event){sim_now_us + delay_us, os.order++, fn, arg, x};
    sift_up(os.n++);
}

bool sim_step(uint64_t until_us)
{
    struct event e;

    if (os.n == 0 || os.heap[0].at > until_us)
        return false;
    e = os.heap[0];
    sift_down();
    if (e.at > sim_now_us)
        sim_now_us = e.at;
    sim_tally->steps++;
    e.fn(e.arg, e.x);
    return true;
}

void sim_start(uint64_t seed)
{
    memset(&os, 0, sizeof os);
    os.random = (seed + 1) * 0x9e3779b97f4a7c15ULL;
    os.digest = 0xcbf29ce484222325ULL;
    os.story = calloc(STORY_LINES, STORY_WIDTH);
    assert(os.story != NULL);
    sim_now_us = 1700000000ULL * 1000000;
    for (int i = 0; i < 8; i++)
        (void)sim_random(0);
    signal(SIGABRT, on_signal);
#ifndef __SANITIZE_ADDRESS__
    signal(SIGSEGV, on_signal);
#endif
}

/* fibers */

static void switch_begin(void **fake, const void *stack, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)fake;
    (void)stack;
    (void)size;
#endif
}

static void switch_end(void *fake, const void **stack, size_t *size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, stack, size);
#else
    (void)fake;
    (void)stack;
    (void)size;
#endif
}

static void to_machine(struct fiber *f, bool for_good)
{
    switch_begin(for_good ? NULL : &f->fake, os.stack, os.stack_size);
    if (swapcontext(&f->context, &os.context) != 0)
        abort();
    switch_end(f->fake, &os.stack, &os.stack_size);
}

static void fiber_run(void)
{
    struct fiber *f = os.current;

    switch_end(NULL, &os.stack, &os.stack_size);
    f->entry(f->arg);
    f->ended = true;
    to_machine(f, true);
}

/* What ended, or was killed, is freed when it does not run any more. */
static void fiber_free(struct fiber *f)
{
    if (os.n_spare < sizeof os.spare / sizeof *os.spare)
        os.spare[os.n_spare++] = f->stack;
    else
        munmap(f->stack, STACK_BYTES);
    f->stack = NULL;
}

static bool fiber_listed(const struct fiber *f)
{
    for (const struct fiber *i = f->proc->fibers; i != NULL; i = i->next) {
        if (i == f)
            return true;
    }
    return false;
}

static void fiber_enter(struct fiber *f)
{
    assert(os.current == NULL);
    os.current = f;
    f->waiting = false;
    switch_begin(&os.fake, f->stack, STACK_BYTES);
    if (swapcontext(&os.context, &f->context) != 0)
        abort();
    switch_end(os.fake, NULL, NULL);
    os.current = NULL;
    if (!fiber_listed(f) || f->ended)
        fiber_free(f);
}

static void fiber_due(void *arg, uint64_t waits)
{
    struct fiber *f = arg;

    if (f->stack == NULL || f->ended || !f->waiting || f->waits != waits || !fiber_listed(f))
        return;
    if (f->proc->paused_us > sim_now_us) {
        sim_at(f->proc->paused_us - sim_now_us, fiber_due, f, waits);
        return;
    }
    fiber_enter(f);
}

struct fiber *fiber_new(struct proc *p, void (*entry)(void *arg), void *arg)
{
    struct fiber *f = calloc(1, sizeof *f);

    assert(f != NULL);
    f->stack = os.n_spare > 0 ? os.spare[--os.n_spare]
                              : mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    assert(f->stack != MAP_FAILED);
    f->proc = p;
    f->entry = entry;
    f->arg = arg;
    f->next = p->fibers;
    p->fibers = f;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, fiber_run, 0);
    f->waiting = true;
    sim_at(0, fiber_due, f, f->waits);
    return f;
}

struct fiber *fiber_current(void)
{
    return os.current;
}

struct proc *sim_self(void)
{
    return os.current == NULL ? NULL : os.current->proc;
}

void fiber_wait(uint64_t until_us)
{
    struct fiber *f = os.current;

    f->waiting = true;
    f->waits++;
    if (until_us != UINT64_MAX)
        sim_at(until_us > sim_now_us ? until_us - sim_now_us : 0, fiber_due, f, f->waits);
    to_machine(f, false);
}

void fiber_wake(struct fiber *f)
{
    if (f->waiting && !f->ended)
        sim_at(0, fiber_due, f, f->waits);
}

void fiber_sleep(uint64_t us)
{
    fiber_wait(sim_now_us + us);
}

/* processes */

void proc_start(struct proc *p)
{
    assert(!p->up);
    p->up = true;
    p->incarnation++;
    p->disk_failed = false;
    /* What the kernel still has of a process that died is not on the disk yet: the power may fail right behind.
     */
    p->power_cut = p->kind == PROC_NODE && !p->power_cut && !world_calm() && sim_chance(2500);
    p->crash_in = p->power_cut ? 1 + (unsigned)sim_random(80) : 0;
    p->paused_us = 0;
    sim_tell(p->name, "starts");
    fiber_new(p, p->main, p);
}

void proc_kill(struct proc *p)
{
    struct fiber *self = os.current;

    if (!p->up)
        return;
    sim_tell(p->name, "dies");
    p->up = false;
    net_proc_gone(p);
    posix_proc_gone(p);
    world_proc_gone(p);
    p->power_cut = p->kind == PROC_NODE && (p->power_cut || sim_chance(6000));
    if (p->power_cut)
        disk_crash(p->number);
    else if (p->kind == PROC_NODE)
        disk_close_all(p->number);
    for (struct fiber *f = p->fibers; f != NULL; f = f->next) {
        f->waiting = false;
        if (f != self && f->stack != NULL)
            fiber_free(f);
    }
    p->fibers = NULL;
    p->loop = NULL;
    if (self != NULL && self->proc == p)
        to_machine(self, true);
}

void sim_point(const char *what)
{
    struct proc *p = sim_self();

    if (p == NULL || p->crash_in == 0 || --p->crash_in > 0)
        return;
    sim_tell(p->name, "is killed at %s", what);
    sim_count(FAULT_crash_point);
    proc_kill(p);
}

/* the story */

static void story_print(FILE *out)
{
    uint64_t first = os.lines > STORY_LINES ? os.lines - STORY_LINES : 0;

    for (uint64_t i = first; i < os.lines; i++)
        fprintf(out, "%s\n", os.story[i % STORY_LINES]);
}

void sim_tell(const char *who, const char *format, ...)
{
    char *line = os.story[os.lines % STORY_LINES];
    uint64_t us = sim_now_us - 1700000000ULL * 1000000;
    va_list args;
    int n;

    n = snprintf(line, STORY_WIDTH, "%4llu.%06llu %-9s ", (unsigned long long)(us / 1000000),
                 (unsigned long long)(us % 1000000), who);
    va_start(args, format);
    vsnprintf(line + n, STORY_WIDTH - (size_t)n, format, args);
    va_end(args);
    os.lines++;
    if (sim_options.trace)
        printf("%s\n", line);
    for (const char *p = line; *p != '\0'; p++)
        os.digest = (os.digest ^ (uint8_t)*p) * 0x100000001b3ULL;
    sim_tally->digest = os.digest;
}

static void story_save(void)
{
    FILE *out = sim_options.story != NULL ? fopen(sim_options.story, "w") : NULL;

    if (out == NULL)
        return;
    story_print(out);
    fclose(out);
}

void sim_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(sim_tally->why, sizeof sim_tally->why, format, args);
    va_end(args);
    sim_tell("CHECK", "%s", sim_tally->why);
    sim_tally->failed = true;
    story_save();
    fflush(stdout);
    _exit(1);
}

/* The product has found a fault of its own, or the simulator has one: a core is worth having. */
static void on_signal(int number)
{
    sim_tell("CHECK", "%s in %s", strsignal(number), sim_self() != NULL ? sim_self()->name : "the simulator");
    story_save();
    signal(number, SIG_DFL);
    raise(number);
}

void sim_count(enum fault f)
{
    sim_tally->faults[f]++;
}
