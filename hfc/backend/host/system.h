// What the launch tape asks of the operating system: aligned memory, sleeping until a word changes, threads without signals.
#ifdef _WIN32
// The two functions of synchapi.h: windows.h would bring macros with names that kernels use.
__declspec(dllimport) int WaitOnAddress(volatile void* address, void* seen, size_t bytes, unsigned milliseconds);
__declspec(dllimport) void WakeByAddressAll(void* address);

static void* hfc_aligned(size_t alignment, size_t bytes) { return _aligned_malloc(bytes, alignment); }
static void hfc_free(void* memory) { _aligned_free(memory); }
static void hfc_sleep_while(atomic_uint* word, unsigned seen) { WaitOnAddress((volatile void*)word, &seen, sizeof seen, 0xffffffffu); }
static void hfc_wake_sleepers(atomic_uint* word) { WakeByAddressAll((void*)word); }
typedef int HfcSignals;
static void hfc_block_signals(HfcSignals* before) { *before = 0; }
static void hfc_restore_signals(const HfcSignals* before) { (void)before; }
#else
static void* hfc_aligned(size_t alignment, size_t bytes) {
  void* memory = 0;
  return posix_memalign(&memory, alignment, bytes) ? 0 : memory;
}
static void hfc_free(void* memory) { free(memory); }
#ifdef __linux__
static void hfc_sleep_while(atomic_uint* word, unsigned seen) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0); }
static void hfc_wake_sleepers(atomic_uint* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, 0, 0, 0); }
#else
static void hfc_sleep_while(atomic_uint* word, unsigned seen) { usleep(100); }
static void hfc_wake_sleepers(atomic_uint* word) {}
#endif
typedef sigset_t HfcSignals;
static void hfc_block_signals(HfcSignals* before) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, before);
}
static void hfc_restore_signals(const HfcSignals* before) { pthread_sigmask(SIG_SETMASK, before, 0); }
#endif
