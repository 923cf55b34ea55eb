// The launch tape of the host: one C call runs every launch of a step. The tables come before: POINTERS, LAUNCHES, SCRATCH.
static char* hfc_scratch(size_t bytes) { return hfc_aligned(4096, bytes + 64); }

void hfc_destroy(HfcTape* tape) {
  if (!tape) return;
  if (tape->owner == getpid()) {
    atomic_store(&tape->quit, 1);
    atomic_fetch_add(&tape->team.steps, 1);
    hfc_wake(&tape->team);
    for (int i = 1; i < tape->team.threads; i++) pthread_join(tape->handles[i], 0);
  }
  for (int i = 0; tape->workers && i < tape->team.threads; i++) hfc_free(tape->workers[i].own);
  free(tape->workers);
  free(tape->handles);
  hfc_free(tape->team.shared);
  free(tape->pointers);
  hfc_free(tape);
}

// pointers[count]: the buffers, weights and states that the launches name by index. Null: out of memory, or an index >= count.
HfcTape* hfc_create(int threads, void* const* pointers, int count) {
  HfcTape* tape = hfc_aligned(64, sizeof(HfcTape));
  if (!tape) return 0;
  memset(tape, 0, sizeof(HfcTape));
  size_t shared = 0, own = 0;
  for (size_t i = 0; i < sizeof SCRATCH / sizeof *SCRATCH; i++) {
    shared = SCRATCH[i][0] > shared ? SCRATCH[i][0] : shared;
    own = SCRATCH[i][1] > own ? SCRATCH[i][1] : own;
  }
  threads = threads < 1 ? 1 : threads;
  tape->end = LAUNCH_COUNT;
  tape->team.shared = hfc_scratch(shared);
  tape->workers = calloc(threads, sizeof(HfcWorker));
  tape->handles = calloc(threads, sizeof(pthread_t));
  tape->pointers = calloc(POINTER_COUNT + 1, sizeof(void*));
  int good = tape->team.shared && tape->workers && tape->handles && tape->pointers;
  for (int i = 0; good && i < threads; i++) {
    tape->team.threads = i + 1;
    tape->workers[i] = (HfcWorker){ .team = &tape->team, .own = hfc_scratch(own), .shared = tape->team.shared, .thread = i };
    good = tape->workers[i].own != 0;
  }
  for (int i = 0; good && i < POINTER_COUNT; i++) {
    good = POINTERS[i] < count;
    tape->pointers[i] = good ? pointers[POINTERS[i]] : 0;
  }
  if (!good) {
    hfc_destroy(tape);
    return 0;
  }
  hfc_start(tape);
  return tape;
}

// Runs every launch of one step. Returns the number of threads of the team.
int hfc_step(HfcTape* tape, const int32_t* step) {
  HfcTeam* team = &tape->team;
  if (tape->owner != getpid()) hfc_start(tape);  // after fork() the workers are gone
  tape->step = step;
  if (tape->first >= tape->end) return team->threads;
  atomic_store(&team->next, (atomic_load(&team->next) / HFC_NEXT_STEP + 1) * HFC_NEXT_STEP + tape->first * HFC_NEXT_LAUNCH);
  atomic_fetch_add(&team->steps, 1);
  hfc_wake(team);
  hfc_run(tape, tape->workers);
  return team->threads;
}

// From now on adds each launch's time to launch_ns[launch count]; null ends that.
void hfc_profile(HfcTape* tape, int64_t* launch_ns) { tape->launch_ns = launch_ns; }

// From now on a step runs only the launches first <= i < end.
void hfc_range(HfcTape* tape, int first, int end) {
  tape->first = first;
  tape->end = end;
}
