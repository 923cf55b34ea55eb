// Where the ranks of a model meet: threads of one process, each with its own tape. See hfc/runtime/ranks/meeting.py.
#include <sched.h>
#include <stdint.h>

enum { HFC_MOST_RANKS = 8 };

typedef struct HfcRanks {
  int32_t number, count;
  uint64_t* arrived[HFC_MOST_RANKS];  // how often each rank has come, in a cache line of its own
  int32_t* broken;                    // one of them will not come
} HfcRanks;

// Tells the others that this rank is here, and returns when all are; 1 where that cannot be.
static int hfc_meet(const HfcRanks* ranks) {
  const uint64_t turn = __atomic_add_fetch(ranks->arrived[ranks->number], 1, __ATOMIC_ACQ_REL);
  for (int i = 0; i < ranks->count; i++)
    for (unsigned looks = 0; __atomic_load_n(ranks->arrived[i], __ATOMIC_ACQUIRE) < turn; looks++) {
      if (__atomic_load_n(ranks->broken, __ATOMIC_ACQUIRE)) return 1;
      if (looks > 2000) sched_yield();
    }
  return 0;
}
