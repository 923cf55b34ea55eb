// What the tables of a GPU's launch tape are made of, and how drivers are called: their signatures agree.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int (*Launch)(void* f, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void* stream, void** args,
                      void** extra);
typedef int (*CopyIn)(uint64_t device, const void* host, size_t bytes, void* stream);
typedef int (*CopyOut)(void* host, uint64_t device, size_t bytes, void* stream);
typedef int (*Synchronize)(void* stream);
typedef int (*BeginCapture)(void* stream, int mode);
typedef int (*EndCapture)(void* stream, void** graph);
typedef int (*Instantiate)(void** executable, void* graph, unsigned long long flags);
typedef int (*LaunchGraph)(void* executable, void* stream);

typedef int (*Multiply)(void* library, int left, int right, int m, int n, int k, const void* alpha, const void* a, int a_type,
                        int lda, const void* b, int b_type, int ldb, const void* beta, const void* c, int c_type, int ldc, void* d,
                        int d_type, int ldd, int compute, int algorithm, int32_t solution, uint32_t flags);

typedef struct HfcAttribute {  // CUlaunchAttribute
  int id;
  char unused[4];
  union {
    char bytes[64];
    int allowed;
  } value;
} HfcAttribute;

typedef struct HfcConfig {  // CUlaunchConfig
  unsigned grid[3], block[3], lds_bytes;
  void* stream;
  HfcAttribute* attributes;
  unsigned count;
} HfcConfig;

typedef int (*LaunchEarly)(const HfcConfig* config, void* f, void** args, void** extra);

enum { PROGRAMMATIC_STREAM_SERIALIZATION = 6 };  // CUlaunchAttributeID

typedef struct HfcDriver {  // entry points of cu* or hip*: their signatures agree
  Launch launch;
  CopyIn copy_in;
  CopyOut copy_out;
  Synchronize synchronize;
  BeginCapture begin_capture;  // null: launch kernels one by one
  EndCapture end_capture;
  Instantiate instantiate;
  LaunchGraph launch_graph;
  void* stream;
  Multiply multiply;  // rocblas_gemm_ex, of programs that need it
  void* library;      // its handle
} HfcDriver;

enum { CALL_PROGRAMS = 4 };  // of one call: draft, adopt, verify, sample

typedef struct HfcCall {  // everything that decides what a step launches and copies
  const int32_t* step;
  size_t skipped, words;  // of the step buffer; the card has the first ones
  int programs[CALL_PROGRAMS], left_out, T, R, G, C;
  void* to;
  uint64_t from;
  size_t bytes;
} HfcCall;

typedef struct HfcGraph {
  HfcCall call;
  void* executable;
} HfcGraph;

enum {  // of rocblas-types.h
  ROCBLAS_F16 = 150, ROCBLAS_F32 = 151, ROCBLAS_BF16 = 168, ROCBLAS_AS_IT_IS = 111, ROCBLAS_TRANSPOSED = 112
};
enum { GRAPHS = 128, GRAPH_ROWS = 16, RELAXED = 2 };  // shapes worth keeping; larger steps are long enough without

enum { RANK_FAILED = -2 };  // another rank of the model will not come
enum { HOST_POINTERS = 8 };

typedef struct HfcHostPart {  // see HostedPart in hfc/plan.py
  int first, end, pointers;   // of its pointers the last is what it makes
  void* places[HOST_POINTERS];  // in pinned memory
  uint64_t row_bytes[HOST_POINTERS];
} HfcHostPart;

typedef struct HfcHost {  // the host's tape, and what runs it: hfc_range and hfc_step of host/tape.h
  void* tape;
  void (*range)(void* tape, int first, int end);
  int (*run)(void* tape, const int32_t* step);
  const HfcHostPart* parts;
} HfcHost;

typedef struct HfcFollower {  // a rank that runs the steps of the first one, see gpu_follow.h
  int32_t state, error, failed[2];
  int32_t programs[CALL_PROGRAMS], left_out;
  int32_t left_to_first;  // a program whose results only the first rank gives out
  uint64_t words;         // of `step`, its own input
  int32_t* step;
  void* to;
} HfcFollower;

typedef struct HfcExchange {  // see hfc/runtime/ranks/cards.py
  HfcRanks ranks;
  void* sent[HFC_MOST_RANKS][2];  // pinned memory for each rank's value, by turns
  uint64_t turn;
  int32_t is_direct;  // kernels read the other cards' memory themselves
  uint64_t turn_word;  // in the card's memory: which step this is, for kernels in which the ranks meet; 0: their threads do
  uint64_t* broken;    // in pinned memory: a kernel has waited in vain, or shall not wait any longer; behind it, which step this is
  uint64_t* waits[HFC_MOST_RANKS];  // such a word of every rank
  HfcFollower* follower[HFC_MOST_RANKS];
  int32_t followers;
} HfcExchange;

typedef struct HfcProduct {  // see Product in hfc/plan.py
  int rows, n, k, type, input_stride, input_at, output_stride, output_at;
  float add;
} HfcProduct;

typedef struct HfcEntry {  // a launch
  int kernel, first;  // index of the function, or -1 - index of a product; first of its arguments
  unsigned block, lds_bytes;
  int hosted;  // the host computes it: a part of its plan; -1: the card
  int exchanged;  // the ranks bring each other so many bytes of a row; 0: they do not
} HfcEntry;

typedef struct HfcProgram {  // grid: of launch i for these counts
  const HfcEntry* entries;
  void (*grid)(int i, int T, int R, int G, int C, unsigned* grid);
  int launches;
} HfcProgram;
