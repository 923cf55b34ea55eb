// The ranks of a model whose kernels meet: a step of the first one is a step of all, without Python in between. Each of the others
// has a thread that stays in hfc_gpu_follow.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FOLLOWER_IDLE, FOLLOWER_RUNS, FOLLOWER_ENDS };
enum { FOLLOWER_LOOKS = 200000 };  // some milliseconds: the usual time between two steps of a sequence is shorter

static void hfc_futex(int32_t* word, int operation, int32_t value) { syscall(SYS_futex, word, operation, value, 0, 0, 0); }

// Until the word is no longer `value`.
static int32_t hfc_changed(int32_t* word, int32_t value) {
  for (unsigned looks = 0;; looks++) {
    const int32_t found = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    if (found != value) return found;
    if (looks < FOLLOWER_LOOKS) hfc_relax();
    else hfc_futex(word, FUTEX_WAIT_PRIVATE, value);
  }
}

static void hfc_change(int32_t* word, int32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
  hfc_futex(word, FUTEX_WAKE_PRIVATE, 1);
}

// Nobody waits for this rank any longer.
static void hfc_gpu_leave(const HfcExchange* exchange) {
  __atomic_store_n(exchange->ranks.broken, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < exchange->ranks.count; i++)
    if (exchange->waits[i]) __atomic_store_n(exchange->waits[i], 1, __ATOMIC_RELEASE);
}

// Runs the steps of the first rank on this one, until hfc_gpu_end.
void hfc_gpu_follow(HfcTape* tape, HfcFollower* own) {
  while (hfc_changed(&own->state, FOLLOWER_IDLE) == FOLLOWER_RUNS) {
    own->error = hfc_gpu_step_alone(tape, own->step, 0, own->words, own->programs, own->left_out, own->to, 0, 0, 1, own->failed);
    if (own->error) hfc_gpu_leave(tape->exchange);
    hfc_change(&own->state, FOLLOWER_IDLE);
  }
}

void hfc_gpu_end(HfcFollower* follower) { hfc_change(&follower->state, FOLLOWER_ENDS); }

// A step on this rank and on those that follow it, each of which finds the same `words` in its own input.
int hfc_gpu_step(HfcTape* tape, const int32_t* step, size_t words, const int* programs, int left_out, void* to, uint64_t from,
                 size_t bytes, int wait, int* failed) {
  HfcExchange* exchange = tape->exchange;
  const int followers = exchange ? exchange->followers : 0;
  for (int i = 0; i < followers; i++) {
    HfcFollower* f = exchange->follower[i];
    memcpy(f->step, step, f->words * sizeof(int32_t));
    for (int p = 0; p < CALL_PROGRAMS; p++) f->programs[p] = programs[p] == f->left_to_first ? -1 : programs[p];
    f->left_out = left_out;
    hfc_change(&f->state, FOLLOWER_RUNS);
  }
  const int error = hfc_gpu_step_alone(tape, step, 0, words, programs, left_out, to, from, bytes, wait || followers, failed);
  if (error && followers) hfc_gpu_leave(exchange);
  for (int i = 0; i < followers; i++) hfc_changed(&exchange->follower[i]->state, FOLLOWER_RUNS);
  for (int i = 0; i < followers && !error; i++)
    if (exchange->follower[i]->error) return RANK_FAILED;
  return error;
}
