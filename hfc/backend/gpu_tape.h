// The launch tape of a GPU plan: one call uploads the step, launches the kernels of some programs, and copies logits or tokens back.
// Its tables come before: PRODUCTS, PROGRAMS, ARGUMENTS.
typedef struct HfcTape {
  HfcDriver driver;
  void** functions;
  uint64_t* values;  // what each argument points to: the step buffer, then the pointers of every launch
  void** args;       // addresses of `values`, as launches want them
  uint64_t step;     // device address of the step buffer
  LaunchEarly launch_early;  // null: a kernel starts when the one ahead of it has ended
  HfcHost host;  // no parts: none of the launches is the host's
  HfcExchange* exchange;  // null: the plan is a whole model's
  HfcGraph graphs[GRAPHS];
  int graph_count;
} HfcTape;

// functions: one for each kernel.  pointers: device addresses by index; index -1 is the step buffer.
HfcTape* hfc_gpu_create(const HfcDriver* driver, void* const* functions, int kernels, const uint64_t* pointers, uint64_t step) {
  HfcTape* tape = calloc(1, sizeof *tape);
  if (!tape) return 0;
  tape->driver = *driver;
  tape->step = step;
  tape->functions = malloc(sizeof(void*) * (kernels + 1));
  tape->values = malloc(sizeof(uint64_t) * (ARGUMENT_COUNT + 1));
  tape->args = malloc(sizeof(void*) * (ARGUMENT_COUNT + 1));
  if (!tape->functions || !tape->values || !tape->args) return 0;
  memcpy(tape->functions, functions, sizeof(void*) * kernels);
  for (int i = 0; i < ARGUMENT_COUNT; i++) {
    tape->values[i] = ARGUMENTS[i] < 0 ? step : pointers[ARGUMENTS[i]];
    tape->args[i] = tape->values + i;
  }
  return tape;
}

// launch: cuLaunchKernelEx. Kernels then start before the ones ahead of them have ended, and wait for their inputs by themselves.
void hfc_gpu_launch_early(HfcTape* tape, LaunchEarly launch) { tape->launch_early = launch; }

// What computes the launches that are the host's; before the first step.
void hfc_gpu_host(HfcTape* tape, const HfcHost* host) { tape->host = *host; }

// Where the ranks of a model meet, and what they bring; before the first step.
void hfc_gpu_ranks(HfcTape* tape, HfcExchange* exchange) { tape->exchange = exchange; }

void hfc_gpu_destroy(HfcTape* tape) {
  if (!tape) return;
  free(tape->functions);
  free(tape->values);
  free(tape->args);
  free(tape);
}

// Products of all rows, `p->rows` at a time. The library thinks in columns: yᵀ [n, rows] = wᵀ of w [k, n], times xᵀ [k, rows].
static int hfc_gpu_multiply(HfcTape* tape, const HfcProduct* p, int rows, const uint64_t* pointers) {
  const float one = 1.0f;
  for (int row = 0; row < rows; row += p->rows) {
    const uint64_t x = pointers[1] + 2 * ((uint64_t)row * p->input_stride + p->input_at);
    void* y = (void*)(pointers[2] + 4 * ((uint64_t)row * p->output_stride + p->output_at));
    const int error = tape->driver.multiply(
        tape->driver.library, ROCBLAS_TRANSPOSED, ROCBLAS_AS_IT_IS, p->n, p->rows, p->k, &one, (const void*)pointers[0], p->type, p->k,
        (const void*)x, p->type, p->input_stride, &p->add, y, ROCBLAS_F32, p->output_stride, y, ROCBLAS_F32, p->output_stride,
        ROCBLAS_F32, 0, 0, 0);
    if (error) return error;
  }
  return 0;
}

// Step.reach of hfc/step.py: tokens of the longest context, rounded up to 128, 512, 2048 …
static int hfc_reach(const int32_t* step) {
  int reach = 128;
  for (int i = 0; i < hfc_segments(step); i++)
    while (reach < hfc_segment_position(step, i) + hfc_segment_rows(step, i)) reach *= 4;
  return reach;
}

// early: what lies ahead in the stream is a kernel of this plan, which need not have ended.
static int hfc_gpu_launch_kernel(HfcTape* tape, const HfcEntry* e, void* f, void** args, const unsigned* grid, int early) {
  if (!early)
    return tape->driver.launch(f, grid[0], grid[1], grid[2], e->block, 1, 1, e->lds_bytes, tape->driver.stream, args, 0);
  HfcAttribute attribute = { PROGRAMMATIC_STREAM_SERIALIZATION, { 0 }, { { 0 } } };
  attribute.value.allowed = 1;
  const HfcConfig config = { { grid[0], grid[1], grid[2] }, { e->block, 1, 1 }, e->lds_bytes, tape->driver.stream, &attribute, 1 };
  return tape->launch_early(&config, f, args, 0);
}

// A launch that the host computes: what it reads comes from the card, what it makes goes back. The stream is empty in between, so the
// pinned memory of one part may be another's too.
static int hfc_gpu_host_part(HfcTape* tape, const HfcEntry* e, const int32_t* step, int rows) {
  const HfcHostPart* part = tape->host.parts + e->hosted;
  const uint64_t* pointers = tape->values + e->first + 1;
  void* stream = tape->driver.stream;
  const int last = part->pointers - 1;
  int error = 0;
  for (int i = 0; !error && i < last; i++)
    error = tape->driver.copy_out(part->places[i], pointers[i], rows * part->row_bytes[i], stream);
  if (!error) error = tape->driver.synchronize(stream);
  if (error) return error;
  tape->host.range(tape->host.tape, part->first, part->end);
  tape->host.run(tape->host.tape, step);
  return tape->driver.copy_in(pointers[last], part->places[last], rows * part->row_bytes[last], stream);
}

static int hfc_gpu_kernels_meet(const HfcTape* tape) { return tape->exchange && tape->exchange->turn_word; }

// This rank's value, pointers[0], is complete when the kernels ahead have ended; when all have met, so are the others', pointers[1] and on.
// The stream is waited for, and the threads meet; what cards cannot read in each other's memory they leave in the host's, and copy from
// there. Of cards that see each other's writes the kernel meets that reads them.
static int hfc_gpu_exchange(HfcTape* tape, const HfcEntry* e, int rows) {
  HfcExchange* exchange = tape->exchange;
  const uint64_t* pointers = tape->values + e->first + 1;
  const size_t bytes = (size_t)rows * e->exchanged;
  const int own = exchange->ranks.number, turn = exchange->turn++ % 2;
  void* stream = tape->driver.stream;
  int error = exchange->is_direct ? 0 : tape->driver.copy_out(exchange->sent[own][turn], pointers[0], bytes, stream);
  if (!error) error = tape->driver.synchronize(stream);
  if (!error && hfc_meet(&exchange->ranks)) error = RANK_FAILED;
  for (int rank = 0, at = 1; !error && !exchange->is_direct && rank < exchange->ranks.count; rank++)
    if (rank != own) error = tape->driver.copy_in(pointers[at++], exchange->sent[rank][turn], bytes, stream);
  return error;
}

static int hfc_gpu_launch_entry(HfcTape* tape, const HfcEntry* e, const int32_t* step, const unsigned* grid, int early) {
  if (e->exchanged) return hfc_gpu_exchange(tape, e, grid[0]);
  if (e->hosted >= 0) return hfc_gpu_host_part(tape, e, step, hfc_rows(step));
  if (e->kernel < 0) return hfc_gpu_multiply(tape, PRODUCTS - 1 - e->kernel, hfc_rows(step), tape->values + e->first + 1);
  return hfc_gpu_launch_kernel(tape, e, tape->functions[e->kernel], tape->args + e->first, grid, early);
}

// Launches a program but its last `left_out` launches, without waiting. Returns 0 or the driver's error; *failed is the launch
// that had it. *after_kernel: what lies ahead in the stream is one of the plan's kernels.
static int hfc_gpu_launch(HfcTape* tape, const int32_t* step, int program, int left_out, int* after_kernel, int* failed) {
  if (program < 0 || program >= PROGRAM_COUNT) return -1;
  const int T = hfc_rows(step), G = hfc_segments(step), R = hfc_outputs(step), C = hfc_reach(step);
  const HfcProgram* p = PROGRAMS + program;
  const int early = tape->launch_early && T <= GRAPH_ROWS;  // blocks of larger steps had better lie one on each compute unit
  unsigned grid[3];
  for (int i = 0; i < p->launches - left_out; i++) {
    p->grid(i, T, R, G, C, grid);
    if (!grid[0] || !grid[1] || !grid[2]) continue;
    const HfcEntry* e = p->entries + i;
    if (e->exchanged && hfc_gpu_kernels_meet(tape)) continue;
    const int error = hfc_gpu_launch_entry(tape, e, step, grid, early && *after_kernel);
    *after_kernel = !e->exchanged && e->kernel >= 0 && e->hosted < 0;
    if (error) {
      *failed = i;
      return error;
    }
  }
  return 0;
}

// Everything of one step but the wait, launched or, between begin and end of a capture, recorded.
static int hfc_gpu_enqueue(HfcTape* tape, const HfcCall* call, int* failed) {
  void* stream = tape->driver.stream;
  const size_t word = sizeof(int32_t), skipped = call->skipped;
  int after_kernel = 0;
  int error = tape->driver.copy_in(tape->step + skipped * word, call->step + skipped, (call->words - skipped) * word, stream);
  if (!error && hfc_gpu_kernels_meet(tape))
    error = tape->driver.copy_in(tape->exchange->turn_word, tape->exchange->broken + 1, sizeof(uint64_t), stream);
  for (int i = 0; !error && i < CALL_PROGRAMS && call->programs[i] >= 0; i++) {
    failed[0] = call->programs[i];
    error = hfc_gpu_launch(tape, call->step, call->programs[i], i ? 0 : call->left_out, &after_kernel, failed + 1);
  }
  if (!error && call->bytes) error = tape->driver.copy_out(call->to, call->from, call->bytes, stream);
  return error;
}

// The graph of an equal call before, or a new one; null if there is no room or the driver cannot.
static void* hfc_gpu_graph(HfcTape* tape, const HfcCall* call) {
  for (int i = 0; i < tape->graph_count; i++)
    if (!memcmp(&tape->graphs[i].call, call, sizeof *call)) return tape->graphs[i].executable;
  if (tape->graph_count == GRAPHS) return 0;
  int failed[2];
  void *graph = 0, *executable = 0;
  if (tape->driver.begin_capture(tape->driver.stream, RELAXED)) return 0;
  const int error = hfc_gpu_enqueue(tape, call, failed);
  if (tape->driver.end_capture(tape->driver.stream, &graph) || error) return 0;
  if (tape->driver.instantiate(&executable, graph, 0)) return 0;
  tape->graphs[tape->graph_count].call = *call;
  tape->graphs[tape->graph_count++].executable = executable;
  return executable;
}

// Ranks whose kernels meet begin a step together: none waits on its card while another one still makes its graph, for which a driver
// may wait for both cards.
static int hfc_gpu_rank_begins(HfcTape* tape) {
  if (!hfc_gpu_kernels_meet(tape)) return 0;
  tape->exchange->broken[1]++;
  return hfc_meet(&tape->exchange->ranks);
}

// What became of the meetings of a step.
static int hfc_gpu_rank_ended(HfcTape* tape) {
  const HfcExchange* exchange = tape->exchange;
  return hfc_gpu_kernels_meet(tape) && __atomic_load_n(exchange->broken, __ATOMIC_ACQUIRE) ? RANK_FAILED : 0;
}

// One step: `words` of the step buffer (pinned) in, all launches of the programs (CALL_PROGRAMS numbers, -1 behind the last) but
// the last `left_out` of the first, `bytes` of `from` back to `to` (pinned), wait. wait = 0: return at once. After an error failed[0]
// is the program and failed[1] its launch, -1 if the error was elsewhere. skipped: of the words, that the card has already.
static int hfc_gpu_step_alone(HfcTape* tape, const int32_t* step, size_t skipped, size_t words, const int* programs, int left_out,
                              void* to, uint64_t from, size_t bytes, int wait, int* failed) {
  HfcCall call;
  memset(&call, 0, sizeof call);  // padding too: calls are compared as bytes
  call.step = step, call.skipped = skipped, call.words = words;
  memcpy(call.programs, programs, sizeof call.programs);
  call.left_out = left_out;
  call.T = hfc_rows(step), call.G = hfc_segments(step), call.R = hfc_outputs(step), call.C = hfc_reach(step);
  call.to = to, call.from = from, call.bytes = bytes;
  failed[0] = programs[0], failed[1] = -1;
  const int by_host = tape->host.parts || (tape->exchange && !hfc_gpu_kernels_meet(tape));  // no graph goes through the host
  const int whole = tape->driver.begin_capture && call.T <= GRAPH_ROWS && !by_host;
  void* graph = whole ? hfc_gpu_graph(tape, &call) : 0;
  if (hfc_gpu_rank_begins(tape)) return RANK_FAILED;
  int error = graph ? tape->driver.launch_graph(graph, tape->driver.stream) : hfc_gpu_enqueue(tape, &call, failed);
  if (!error && wait) error = tape->driver.synchronize(tape->driver.stream);
  return error ? error : hfc_gpu_rank_ended(tape);
}

// A step that is not waited for. follows: it has as many rows as the one ahead of it in the stream, which has left its tokens where
// this one looks for them.
int hfc_gpu_queue(HfcTape* tape, const int32_t* step, size_t words, const int* programs, int left_out, void* to, uint64_t from,
                  size_t bytes, int follows, int* failed) {
  const size_t skipped = follows ? HFC_STEP_POSITION : 0;
  return hfc_gpu_step_alone(tape, step, skipped, words, programs, left_out, to, from, bytes, 0, failed);
}
