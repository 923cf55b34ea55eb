// The threads of a launch tape: they stay alive between steps, and help with every launch. The tables come before: LAUNCHES.
typedef struct HfcTape {
  HfcTeam team;
  HfcWorker* workers;   // [threads]; the first is the caller of hfc_step
  pthread_t* handles;   // [threads]
  void** pointers;      // [POINTER_COUNT] resolved
  const int32_t* step;
  int64_t* launch_ns;   // [LAUNCH_COUNT] or null: time of each launch, summed
  int first, end;       // launches of a step: all, unless hfc_range says otherwise
  atomic_int quit;
  pid_t owner;
} HfcTape;

static int64_t hfc_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

// Until the team has left this phase. Spin for some microseconds, then offer the core between looks: the thread that
// holds the last unit may be waiting for it.
void hfc_wait(const HfcWorker* w) {
  for (unsigned i = 0; (atomic_load_explicit(&w->team->next, memory_order_acquire) ^ w->phase) < HFC_NEXT_PHASE; i++) {
    if (i < 2000) hfc_relax();
    else sched_yield();
  }
}

// Behind its last launch a step is in HFC_DONE, whatever its range was: a thread that comes late must not take the next launch
// of a range that is another one by now for its own. Only a thread that ends a launch reads `end`, and as long as that
// launch is not ended the range stays.
enum { HFC_DONE = (1 << HFC_LAUNCH_BITS) - 1 };

// Runs what is left of the step that the team is in, from the launch that it is in.
static void hfc_run(HfcTape* tape, HfcWorker* w) {
  HfcTeam* team = &tape->team;
  int64_t before = tape->launch_ns ? hfc_now_ns() : 0;
  w->phase = atomic_load_explicit(&team->next, memory_order_acquire) / HFC_NEXT_LAUNCH * HFC_NEXT_LAUNCH;
  const uint64_t step = w->phase / HFC_NEXT_STEP;
  for (;;) {
    const uint64_t launch = w->phase / HFC_NEXT_LAUNCH, i = launch % (1 << HFC_LAUNCH_BITS);
    if (i == HFC_DONE) return;
    w->taken = 0;
    LAUNCHES[i].kernel(tape->step, tape->pointers + LAUNCHES[i].first, w);
    uint_fast64_t now = w->phase;  // if nobody has done so yet, the team goes to the next launch
    const uint64_t following = (launch + (i + 1 < (uint64_t)tape->end ? 1 : HFC_DONE - i)) * HFC_NEXT_LAUNCH;
    if (atomic_compare_exchange_strong(&team->next, &now, following)) now = following;
    if (w->thread == 0 && tape->launch_ns) {
      const int64_t after = hfc_now_ns();
      tape->launch_ns[i] += after - before;
      before = after;
    }
    if (now / HFC_NEXT_STEP != step) return;
    w->phase = now / HFC_NEXT_LAUNCH * HFC_NEXT_LAUNCH;
  }
}

// A worker's life: sleep until a step begins, help with it.
static void* hfc_work(void* worker) {
  HfcWorker* w = worker;
  HfcTape* tape = (HfcTape*)w->team;
  HfcTeam* team = w->team;
  unsigned seen = 0;
  for (;;) {
    int64_t idle_since = 0;
    for (unsigned i = 0; atomic_load_explicit(&team->steps, memory_order_acquire) == seen; i++) {
      if (i < 2000) {
        hfc_relax();
        continue;
      }
      const int64_t now = hfc_now_ns();
      if (i == 2000) idle_since = now;
      if (now - idle_since < 1000000) {
        sched_yield();
        continue;
      }
      atomic_fetch_add(&team->sleepers, 1);
      hfc_sleep_while(&team->steps, seen);
      atomic_fetch_sub(&team->sleepers, 1);
    }
    seen = atomic_load_explicit(&team->steps, memory_order_acquire);
    if (atomic_load(&tape->quit)) return 0;
    hfc_run(tape, w);
  }
}

// Tells the workers that `steps` has changed.
static void hfc_wake(HfcTeam* team) {
  if (atomic_load(&team->sleepers)) hfc_wake_sleepers(&team->steps);
}

// Starts the workers of this process; where the system refuses some, the step runs with fewer.
static void hfc_start(HfcTape* tape) {
  HfcSignals before;
  tape->owner = getpid();
  atomic_store(&tape->team.sleepers, 0);
  atomic_store(&tape->team.steps, 0);
  atomic_store(&tape->team.done, 0);
  hfc_block_signals(&before);  // signals are the main thread's business
  int started = 1;
  for (; started < tape->team.threads; started++)
    if (pthread_create(tape->handles + started, 0, hfc_work, tape->workers + started)) break;
  hfc_restore_signals(&before);
  tape->team.threads = started;
}
