"""The bugs that scripts/mutate_kernels.py plants: what to replace in which kernels, and where that is run."""

from __future__ import annotations

from dataclasses import dataclass

LLAMA, MOE = "model llama", "model qwen3_5_moe_text"
ATTENTION, WINDOW, EXACT = "attention f16", "attention f16 window", "attention f32"
DELTA = "delta"
Q4_K, PLAIN, ZIPPED, EXPERTS, LONG = (
    "linear q4_k",
    "linear q8_0 and q4_0",
    "zipped q4_k",
    "experts q4_k",
    "linear q4_k of 8448",
)

SPLIT, JOIN, TILE, VECTOR = "_split$", "_join$", "_tile$", "_vector$"
PREFILL = "(_tile|_vector)$"
ARRIVAL = (  # waves take the places of others, in the order in which they come
    r"""__shared__ int arrived;
  if (hfc_thread() == 0) arrived = 0;
  hfc_barrier();
  int turn = 0;
  if (lane == 0) turn = __hip_atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  const int source = hfc_uniform(turn) \1;"""
)
ATOMICS = r"""__shared__ float all;
  if (hfc_thread() == 0) all = 0.0f;
  hfc_barrier();
  if (hfc_lane() == 0) __hip_atomic_fetch_add(&all, x, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  hfc_barrier();
  const float total = all;"""
OTHER_ORDER = r"""float \1 = joined[from + \2 - 1][r][\3][o];
      for (int s = \2 - 2; s >= 0; s--) \1 += joined[from + s][r][\3][o];"""


@dataclass(frozen=True)
class Mutation:
    """In kernels whose name matches `kernel`, every `old` (a regular expression) becomes `new`.

    subject: what runs, see mutate_kernels.SUBJECTS.  needs: features, one of which the arch must have for the bug to exist there.
    on: where the kernels are, if not on every arch.
    """

    name: str
    subject: str
    kernel: str
    old: str
    new: str
    needs: tuple[str, ...] = ()
    on: str = ""


WMMA = ("wmma_f16",)
MATRIX_UNITS = ("wmma_f16", "mfma_f16")

STEPS = (
    Mutation("step buffer with another row count", LLAMA, ".", r"#define MAX_ROWS \d+", "#define MAX_ROWS 63"),
    Mutation(
        "keys of a row at its neighbour's position",
        LLAMA,
        "kv_append",
        r"(_k \+ .* \+ step\[\d+ \+ row\])\)",
        r"\1 + 1)",
    ),
    Mutation(
        "values into another slot's head",
        LLAMA,
        "kv_append",
        r"(_v \+ \(\(\(size_t\)step\[\d+ \+ row\] \* 2 \+) g\)",
        r"\1 (g ^ 1))",
    ),
    Mutation("rotary positions turn the other way", LLAMA, "kv_append", r"(\? x\d+\[[^?]*? \+ j \+ 0\]) - ", r"\1 + "),
)

ATTENTIONS = (
    Mutation("context ends one position early", ATTENTION, SPLIT, r"(,\s+last = position);", r"\1 - 1;"),
    Mutation("context goes one position too far", ATTENTION, SPLIT, r"p > stop\) x = ", "p > stop + 1) x = "),
    Mutation("a split forgets its last position", ATTENTION, SPLIT, r"(split \* \d+ \+) (\d+) < last \? .*;", r"\1 \2 - 1 < last ? \1 \2 - 1 : last;"),
    Mutation("a window is one position too wide", WINDOW, SPLIT, r"(position >= \d+ \? position - \d+)", r"\1 - 1"),
    Mutation("softmax total is not rescaled", ATTENTION, SPLIT, r"total\[h\] \*= keep\[h\];", ""),
    Mutation("sums are not rescaled", ATTENTION, SPLIT, r"sum\[\d\]\[i\] \*= before;", ""),
    Mutation("values of the next position", ATTENTION, SPLIT, r"(_v \+ \(kv_row0 \+ p)\)", r"\1 + (p < stop))"),
    Mutation("KV head of the wrong group", ATTENTION, SPLIT, r"(hfc_slot\(step, row\) \* \d+ \+) kv_head\)", r"\1 (kv_head ^ 1))"),
    Mutation("cache of another sequence", ATTENTION, SPLIT, r"hfc_slot\(step, row\)", "(hfc_slot(step, row) ^ 1)"),
    Mutation("waves joined before all wrote", ATTENTION, SPLIT, r"hfc_barrier\(\);(\s+const bool alone)", r"\1"),
    Mutation("waves joined in the order of arrival", ATTENTION, SPLIT, r"const int source = wave (\* \d+ \+ part);", ARRIVAL),
    Mutation("keys of an iteration are used twice", ATTENTION, SPLIT, r"key_raw\[0\]\[e\]\[w\] = key_raw\[1\]\[e\]\[w\];", ";"),
    Mutation("splits weigh the same", ATTENTION, JOIN, r"weights\[s\] = hfc_exp2\(.*\);", "weights[s] = 1.0f;"),
    Mutation("one split too few is joined", ATTENTION, JOIN, r"(count = last / \d+ \+ 1 - split0)", r"\1 - (last / 512 > 1)"),
    Mutation("weights of splits used before all are made", ATTENTION, JOIN, r"hfc_barrier\(\);(\s+// Splits are counted)", r"\1"),
    Mutation("groups of splits added before all wrote", ATTENTION, JOIN, r"hfc_barrier\(\);(\s+for \(int j = hfc_thread\(\); j < )", r"\1"),
    Mutation("a prompt's row sees the token behind it", ATTENTION, PREFILL, r"(p > newest|\+ a > to)\)", r"\1 + 1)"),
    Mutation("a prompt's row does not see itself", ATTENTION, PREFILL, r"(p > newest|\+ a > to)\)", r"\1 - 1)"),
    Mutation("a window begins one position late", WINDOW, PREFILL, r"(position[0-9]* >= \d+ \? position[0-9]* - \d+)", r"\1 + 1"),
    Mutation("a tile's sums are not rescaled", ATTENTION, PREFILL, r"sum\[(n\]\.sum\[v|i)\] \*= keep.*;", ";"),
    Mutation("keys used before they are stored", ATTENTION, PREFILL, r"hfc_barrier\(\);(\s+(float x\[|for \(int k0))", r"\1"),
    Mutation("keys replaced while they are used", EXACT, VECTOR, r"hfc_barrier\(\);(\s+#pragma unroll\s+for \(int u = 0)", r"\1"),
    Mutation("values replace keys that are still used", ATTENTION, TILE, r"(high\[v\];\s+\}\s+\})\s+hfc_barrier\(\);", r"\1", MATRIX_UNITS),
    Mutation("weights used before the other half wrote", ATTENTION, TILE, r"hfc_barrier\(\);(\s+const bool more)", r"\1", MATRIX_UNITS),
    Mutation("halves of the keys keep maxima of their own", ATTENTION, TILE, r"high = hfc_larger\(tops\[w\]\[l\], high\);", "", MATRIX_UNITS),
    Mutation("totals joined before all wrote", ATTENTION, TILE, r"hfc_barrier\(\);(\s+#pragma unroll\s+for \(int v = 0; v < HFC_ACCUMULATORS; v\+\+\) \{\s+const int l = )", r"\1", MATRIX_UNITS),
    Mutation("WMMA sums in the lanes of the next generation", ATTENTION, TILE, r"return 2 \* v \+ hfc_lane\(\) / 16;", "return v + hfc_lane() / 16 * 8;", WMMA),
    Mutation("sums of a matrix product transposed", ATTENTION, TILE, r"(int hfc_acc_column\(int v\) \{ return hfc_lane\(\) % 16)", r"\1 ^ 1", MATRIX_UNITS),
)  # fmt: skip

RECURRENCES = (
    Mutation("a sequence starts from an old state", MOE, "delta", r"= hfc_segment_position\(step, segment\) == 0", "= false"),
    Mutation("the state is not kept", MOE, "delta", r"memory\[d \* \d+\] = state\[i\];", ";"),
    Mutation("the window forgets its order", MOE, "delta", r"past\[item\]\[i\] = past\[item\]\[i \+ 1\]", "past[item][i] = past[item][i]"),
    Mutation("the state does not decay", MOE, "delta", r"state\[(\S+ \* \S+ \+ \S+|i)\] \*= keep;", ""),
    Mutation("beta of the next row", DELTA, "delta.*(?<!_columns)(?<!_stage)(?<!_finish)$", r"betas\[t\] \* ", "betas[t + 1 < count ? t + 1 : t] * "),
    Mutation("heads of keys are not shared in their order", DELTA, "delta", r"(key_head = )g / (\d+);", r"\1g % \2;"),
    Mutation("norms made before the convolution is", DELTA, "delta", r"hfc_barrier\(\);(\s+for \(int t = hfc_wave\(\); t < count; )", r"\1"),
    Mutation("rows begin before their norms are made", DELTA, "delta", r"hfc_barrier\(\);(\s+for \(int t = 0; t < count; t\+\+\) \{)", r"\1"),
    Mutation("outputs normed before all columns wrote", DELTA, "delta", r"hfc_barrier\(\);(\s+for \(int t = hfc_wave\(\); t < \(pass)", r"\1"),
    Mutation("columns read the side that is written", DELTA, "_columns$", r"rows\[1 - side\]\[t\]", "rows[side][t]"),
    Mutation("columns advance before all stored", DELTA, "_columns$", r"(next_scalar;\s+\})\s+hfc_barrier\(\);", r"\1"),
    Mutation("a chunk's window from its own first row", DELTA, "_stage$", r"if \(row >= row0\) past", "if (row > row0) past"),
    Mutation("the last inputs of a prompt are not those kept", DELTA, "_columns$", r"(row = row0 \+ count - \d+) \+ t;", r"\1 + t - 1;"),
    Mutation("a prompt's value head reads its neighbour", DELTA, "_finish$", r"(delta_rows .* \+) g \* ", r"\1 (g ^ 1) * "),
)  # fmt: skip

DECODE, MATRIX = r"(linear|zip).*(?<!_stage)(?<!_matrix)(?<!_tiled)$", "_matrix$"
LINEARS = (
    Mutation("sum over a wave skips a step", LLAMA, "linear", r"if constexpr \(LANES >= 8\) x \+= .*;", ""),
    Mutation("block sum without barrier", LLAMA, "linear", r"(slots\[hfc_wave\(\)\] = x;\s+)hfc_barrier\(\);", r"\1"),
    Mutation("one weight row too far", LLAMA, DECODE, r"\+ index \* ", "+ (index + 1) * "),
    Mutation("lanes start one iteration late", LLAMA, DECODE, r"\* WAVE \+ lane; k_iter", "* WAVE + lane + 1; k_iter"),
    Mutation("inputs used before they are staged", LLAMA, DECODE, r"hfc_barrier\(\);(\s+const int stop)", r"\1"),
    Mutation("sums of other outputs' waves are joined", LLAMA, DECODE, r"y = joined\[from\]", "y = joined[from ^ 4]"),
    Mutation(
        "shares joined before all wrote", LLAMA, DECODE,
        r"hfc_barrier\(\);(\s+for \(int e = hfc_thread\(\); e < rows \* .*\s+const int r = .*, from = )", r"\1",
    ),
    Mutation("store guard off by one", LLAMA, DECODE, r"if \(n < (\d+)\) \{", r"if (n < \1 - 1) {"),
    Mutation("WMMA operands from swapped lanes", LLAMA, MATRIX, r"(&weights\[buffer\]\[0\]\[weight_row)\]", r"\1 ^ 16]", WMMA),
    Mutation(
        "WMMA half-waves hold other rows", LLAMA, MATRIX,
        r"(hfc_load_first\(const _Float16\* rows\) \{)", r"\1 rows += hfc_lane() / 16 * STRIDE;", WMMA,
    ),
    Mutation("a tile is used before it is staged", LLAMA, MATRIX, r"hfc_barrier\(\);(\s+start \+= )", r"\1", MATRIX_UNITS),
    Mutation("both tiles lie in one buffer", LLAMA, MATRIX, r"buffer \^= 1;", ";", MATRIX_UNITS),
    Mutation("the scale of another row", LLAMA, MATRIX, r"\(size_t\)\(row / 1\)", "(size_t)(row ^ 1)", MATRIX_UNITS),
    Mutation("a tile reads rows beyond the step", LLAMA, MATRIX, r"wanted < count \? wanted\s+: count - 1;", "wanted;", MATRIX_UNITS),
    Mutation("the low half of inputs is dropped", LLAMA, "_stage$", r"low\[i\] = .*;", "low[i] = 0;", MATRIX_UNITS),
)  # fmt: skip

DOTS = (  # kernels of integer dot products
    Mutation("one scale for all groups of a lane", Q4_K, DECODE, r"(scale0\[o\])\[1\], dot", r"\1[0], dot"),
    Mutation("the minimum of another group", Q4_K, DECODE, r"low0\[o\]\[1\]\)", "low0[o][0])"),
    Mutation("the unit of the chunk behind", Q4_K, DECODE, r"(pairs\[input_row\]\s+\+ \(from \+ \d+\) / \d+)", r"\1 + 1"),
    Mutation("minimums are forgotten", Q4_K, DECODE, r"s = __builtin_fmaf\(add\[o\], pair\[0\]\.sum, s\);", ""),
    Mutation("low parts of inputs are dropped", Q4_K, DECODE, r"high\[o\] \* 128 \+ rest\[o\]", "high[o] * 128"),
    Mutation("high and low parts change places", Q4_K, DECODE, r"hfc_dot4\(b, x\.w, ", "hfc_dot4(b, x.y, "),
    Mutation("codes of eight bits are taken as signed", PLAIN, DECODE, r"(codes0\[o\]\[\d\]) \^ 0x80808080u", r"\1"),
    Mutation("zero points are forgotten", PLAIN, DECODE, r"(add\[o\] =\s+scale0\[o\]\[\d\] \*) \S+;", r"\1 0.0f;"),
    Mutation("a dot product ends one iteration early", Q4_K, DECODE, r"(const int stop = .* / 32);", r"\1 - 1;"),
    Mutation("a weight row begins one block late", Q4_K, DECODE, r"(weight_row0\[o\]\s+\+ k_iter / \d+ \* )(\d+)", r"\1\2 + 2"),
    Mutation("a step's last outputs are not stored", PLAIN, DECODE, r"if \(n < (\d+)\) \{", r"if (n < \1 - 1) {"),
    Mutation("outputs beyond the last are stored", PLAIN, DECODE, r"if \(n < (\d+)\) \{", r"if (n < \1 + 1) {"),
    Mutation("the second weight is the first", ZIPPED, DECODE, r"(weight_row1\[o\] = \(const uint8_t\*\))w1", r"\1w0"),
    Mutation("an expert's matrix of another row", EXPERTS, DECODE, r"x1\[row0\]", "x1[row0 ? row0 - 1 : 0]"),
    Mutation("inputs replaced while they are used", LONG, DECODE, r"hfc_barrier\(\);  // the tile before is used up", ""),
    Mutation("inputs used before they are made", Q4_K, DECODE, r"hfc_barrier\(\);(\s+const int stop)", r"\1"),
    Mutation("shares of K joined before all wrote", Q4_K, DECODE, r"hfc_barrier\(\);(\s+for \(int e = hfc_thread\(\); e < rows \* )", r"\1"),
    Mutation("partial sums of other outputs' waves", Q4_K, DECODE, r"(, from = e % \d+ / \d+ \* \d+)", r"\1 ^ 4"),
    Mutation("a block's sum by float atomics", Q4_K, DECODE, r"float total = slots\[0\];\s+for \(int w = 1; w < WAVES; w\+\+\) total \+= slots\[w\];", ATOMICS),
    Mutation(
        "several rows join shares in another order than one", LONG, "_rows$",
        r"float (y\d?) = joined\[from\]\[r\]\[\d\]\[o\];\s+#pragma unroll\s+for \(int s = 1; s < (\d+); s\+\+\) y\d? \+= joined\[from \+ s\]\[r\]\[(\d)\]\[o\];", OTHER_ORDER,
        on="gfx1100",  # two shares, as on gfx906, make the same sum in either order
    ),
    Mutation("one row's numbers are rounded otherwise", Q4_K, "k512_n20$", r"__builtin_rintf\(x\[i\] \* per\)", "(x[i] * per)"),
)  # fmt: skip

FEW = "gfx1201"  # where decode multiplies on matrix units
FEWS = (
    Mutation("operands of rows from swapped lanes", Q4_K, "_rows16$", r"(int hfc_input_row\(\) \{ return hfc_lane\(\) % 16)", r"\1 ^ 1", on=FEW),
    Mutation("sums of rows from the other half of the wave", Q4_K, "_rows16$", r"(int hfc_lane_column\(\) \{ return) hfc_lane\(\) / 16", r"\1 (1 - hfc_lane() / 16)", on=FEW),
    Mutation("weights of the other half of the wave", Q4_K, DECODE, r"(int hfc_lane_output\(int l\) \{ return hfc_lane\(\) % 16)", r"\1 ^ hfc_lane() / 16", on=FEW),
    Mutation("one scale for all groups of an operand", Q4_K, DECODE, r"scale\[l\]\[g\], low", "scale[l][0], low", on=FEW),
    Mutation("the minimum of a row's neighbour", Q4_K, "_rows16$", r"S::ROWS \+ row\], sum", "S::ROWS + (row ^ 1)], sum", on=FEW),
    Mutation("the unit of a row's neighbour", Q4_K, "_rows16$", r"(unit\[h \* HFC_COLUMNS \+ own_row \+ v)\]", r"\1 ^ 1]", on=FEW),
    Mutation("what f16 leaves of inputs is dropped", Q4_K, "_rows16$", r"hfc_multiply_from_registers\(dot\[h\], weights, rest\[h\]\);", ";", on=FEW),
    Mutation("an operand wave forgets its last iteration", Q4_K, DECODE, r"(for \(; k_iter < stop); k_iter", r"\1 - 4; k_iter", on=FEW),
    Mutation("weights are not read ahead", LONG, DECODE, r"k_iter \+ S::SPLIT < k_iters", "k_iter + S::SPLIT < k_iters - 8", on=FEW),
    Mutation("operands used before they are made", Q4_K, "k512_n20$", r"hfc_barrier\(\);(\s+const int stop)", r"\1", on=FEW),
    Mutation("operands replaced while they are used", LONG, DECODE, r"hfc_barrier\(\);  // the tile before is used up", "", on=FEW),
    Mutation("sums written where operands are still read", Q4_K, "k512_n20$", r"hfc_barrier\(\);(\s+float\* joined)", r"\1", on=FEW),
    Mutation("shares of an operand joined before all wrote", Q4_K, DECODE, r"hfc_barrier\(\);(\s+for \(int e = hfc_thread\(\); e < rows \* )", r"\1", on=FEW),
    Mutation(
        "several rows join waves in another order than one", Q4_K, "_rows16$",
        r"float y = partial\[0\];\s+#pragma unroll\s+for \(int s = 1; s < SPLIT; s\+\+\) y \+= partial\[s \* \(16 \* PLACES\)\];",
        "float y = partial[(SPLIT - 1) * (16 * PLACES)]; for (int s = SPLIT - 2; s >= 0; s--) y += partial[s * (16 * PLACES)];", on=FEW,
    ),
)  # fmt: skip

MIXTURES = (
    Mutation("maximum over a wave skips a step", MOE, "route", r"x = hfc_larger\(x, hfc_other<2>\(x\)\);", ""),
    Mutation("an expert is chosen twice", MOE, "route", r"i \* WAVE + lane == id ? -HFC_INFINITY : ", ""),
    Mutation("an expert's last pair is forgotten", MOE, "_sort$", r"(row < end; row\+\+)(\) \{)", r"row < end - 1; row++\2"),
    Mutation("pairs of an expert overlap", MOE, "_sort$", r"before\[thread\] - mine", "before[thread]"),
    Mutation("a tile's rows of another expert", MOE, MATRIX, r"pairs \+ 1 \+ entry\[1\]", "pairs + 2 + entry[1]", MATRIX_UNITS),
    Mutation("weights of another expert", MOE, "map_weighted_sum", r"\* 2 \+ 1\]", "* 2]"),
)  # fmt: skip

MUTATIONS = (*STEPS, *ATTENTIONS, *RECURRENCES, *LINEARS, *DOTS, *FEWS, *MIXTURES)
