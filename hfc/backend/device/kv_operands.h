// Keys and values of 16 positions as A operands of mma.sync m16n8k16, from rows in LDS that bulk copies brought (Hopper). Which element of a
// head is which row or k of an operand is free as long as queries and outputs agree: lanes take codes as they lie. A lane holds rows hfc_mma_row()
// and hfc_mma_row() + 8 of an operand, and of each k = 2 c, 2 c + 1, 2 c + 8 and 2 c + 9 where c is hfc_mma_column(), 0 to 3.
#pragma once
HFC_FUNCTION int hfc_mma_row() { return hfc_lane() / 4; }
HFC_FUNCTION int hfc_mma_column() { return hfc_lane() % 4; }
HFC_FUNCTION uint32_t hfc_bytes_of(uint32_t low, uint32_t high, uint32_t which) { return __nvvm_prmt(low, high, which); }
HFC_FUNCTION bool hfc_any(bool x) { return __nvvm_vote_any_sync(0xffffffffu, x); }
HFC_FUNCTION void hfc_mma(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 { %0, %1, %2, %3}, { %4, %5, %6, %7}, { %8, %9}, { %0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Where an element of a head lies among sums in LDS: neighbouring lanes' 32 elements begin in different banks.
HFC_FUNCTION int hfc_apart(int element) { return element + element / 32; }

// Copies of a warp, and the barriers in LDS at which they arrive.
HFC_FUNCTION void hfc_arrival_begin(uint64_t* arrival) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(hfc_lds_address(arrival)) : "memory");
}
HFC_FUNCTION void hfc_arrivals_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
HFC_FUNCTION void hfc_expect(uint64_t* arrival, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(hfc_lds_address(arrival)), "r"(bytes) : "memory");
}
HFC_FUNCTION void hfc_bulk_copy(uint8_t* to, const uint8_t* from, uint32_t bytes, uint64_t* arrival) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               ::"r"(hfc_lds_address(to)), "l"(from), "r"(bytes), "r"(hfc_lds_address(arrival))
               : "memory");
}
HFC_FUNCTION void hfc_await(uint64_t* arrival, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred there;\nhfc_again:\nmbarrier.try_wait.parity.shared::cta.b64 there, [%0], %1;\n@!there bra hfc_again;\n}"
      ::"r"(hfc_lds_address(arrival)), "r"(parity)
      : "memory");
}
// Stores of this warp to LDS are done before its next copies there.
HFC_FUNCTION void hfc_stores_before_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// A warp's copy; one lane issues it, as copies of several lanes would go out one after the other.
HFC_FUNCTION void hfc_copy_rows(uint8_t* to, const uint8_t* from, uint32_t bytes, uint64_t* arrival) {
  if (hfc_lane() != 0) return;
  hfc_expect(arrival, bytes);
  hfc_bulk_copy(to, from, bytes, arrival);
}

// Two of four unsigned bytes as f16, less 128.
template <uint32_t WHICH> HFC_FUNCTION hfc_half2 hfc_two_codes(uint32_t bytes) {
  const hfc_half2 offset = {(_Float16)1152.0f, (_Float16)1152.0f};
  return __builtin_bit_cast(hfc_half2, hfc_bytes_of(bytes, 0x64646464u, WHICH)) - offset;
}
enum : uint32_t { HFC_LOW_CODES = 0x4140u, HFC_HIGH_CODES = 0x4342u };  // bytes 0, 1 and 2, 3
enum : uint32_t { HFC_LOW_HALVES = 0x5410u, HFC_HIGH_HALVES = 0x7632u };  // of two words
// Element number `byte` of word `word` in a block of 34 bytes, d and 32 codes: where blocks begin at a word (even ones), words 0-6 hold codes
// from 2 on, and word 7 is made of the first two codes and the last two.
HFC_FUNCTION constexpr int hfc_q8_element(int block, int word, int byte) {
  if (block % 2) return 32 * block + 4 * word + byte;
  return 32 * block + (word < 7 ? 2 + 4 * word + byte : byte < 2 ? byte : 28 + byte);
}

// Keys: operands of CHUNKS x STEPS products; SCALED: the sums of a chunk have a scale each, that of its rows.  element(): the i-th of a lane's four
// in a product.  row_scale(): of a whole row.
template <int SIZE> struct hfc_q8_keys {
  enum { STRIDE = SIZE / 32 * 34, STEPS = 2, CHUNKS = SIZE / 32, SCALED = 1 };
  HFC_FUNCTION int element(int step, int share, int i) { return hfc_q8_element(step / 2, 2 * share + step % 2, i); }
  HFC_FUNCTION void operands(const uint8_t* rows, const uint32_t*, int chunk, uint32_t (&a)[STEPS][4], float (&scale)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint32_t* words = (const uint32_t*)(rows + (hfc_mma_row() + 8 * half) * STRIDE + (34 * chunk & ~3));
      const int first = 1 + 2 * hfc_mma_column();
      uint32_t x[2] = {words[first], words[chunk % 2 || hfc_mma_column() < 3 ? first + 1 : 8]};
      if (chunk % 2 == 0) x[1] = hfc_bytes_of(words[0], x[1], hfc_mma_column() < 3 ? 0x7654u : 0x5432u);
      scale[half] = hfc_f16_to_f32((uint16_t)(chunk % 2 ? words[0] >> 16 : words[0]));
#pragma unroll
      for (int s = 0; s < 2; s++) {
        a[s][half] = __builtin_bit_cast(uint32_t, hfc_two_codes<HFC_LOW_CODES>(x[s] ^ 0x80808080u));
        a[s][2 + half] = __builtin_bit_cast(uint32_t, hfc_two_codes<HFC_HIGH_CODES>(x[s] ^ 0x80808080u));
      }
    }
  }
  HFC_FUNCTION float row_scale(const uint8_t*, int) { return 1.0f; }
};
// Codes of BITS behind an f32 norm. table: two neighbouring codes -> their levels, COPIES of each pair for as many lanes.
template <int SIZE, int BITS> struct hfc_level_keys {
  enum { STRIDE = 4 + SIZE * BITS / 8, STEPS = 8, CHUNKS = SIZE / 128, SCALED = 0 };
  enum { COPIES = BITS < 4 ? 32 : 8, ENTRIES = 1 << 2 * BITS };
  HFC_FUNCTION int element(int step, int share, int i) { return share * (SIZE / 4) + 4 * step + i; }
  HFC_FUNCTION void fill(uint32_t* table, const uint16_t* levels, int thread, int threads) {
    for (int e = thread; e < ENTRIES; e += threads) {
      const uint32_t pair = levels[e % (1 << BITS)] | (uint32_t)levels[e >> BITS] << 16;
#pragma unroll
      for (int i = 0; i < COPIES / 4; i++)
        *(hfc_uint4*)(table + e * COPIES + (i + e) % (COPIES / 4) * 4) = hfc_uint4{pair, pair, pair, pair};
    }
  }
  template <int PAIR> HFC_FUNCTION uint32_t looked_up(const uint32_t* words, const uint32_t* table) {
    constexpr int at = 2 * BITS * PAIR % 32, word = 2 * BITS * PAIR / 32, place = COPIES == 32 ? 7 : 5;
    constexpr bool cut = at + 2 * BITS > 32;
    constexpr int right = at >= place ? at - place : 0, left = at >= place ? 0 : place - at;
    uint32_t x = words[word] >> right << left;
    if constexpr (cut) x |= words[word + 1] << (32 - right);
    return *(const uint32_t*)((const uint8_t*)table + ((x & (ENTRIES - 1) << place) | hfc_lane() % COPIES * 4));
  }
  template <int PAIR> HFC_FUNCTION void fill_operands(const uint32_t* words, const uint32_t* table, int half, uint32_t (&a)[STEPS][4]) {
    a[PAIR / 2][PAIR % 2 * 2 + half] = looked_up<PAIR>(words, table);
    if constexpr (PAIR + 1 < 2 * STEPS) fill_operands<PAIR + 1>(words, table, half, a);
  }
  HFC_FUNCTION void operands(const uint8_t* rows, const uint32_t* table, int chunk, uint32_t (&a)[STEPS][4], float (&)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint8_t* from = rows + (hfc_mma_row() + 8 * half) * STRIDE + 4 + (hfc_mma_column() * CHUNKS + chunk) * BITS * 4;
      uint32_t words[BITS];
#pragma unroll
      for (int w = 0; w < BITS; w++) words[w] = ((const uint32_t*)from)[w];
      fill_operands<0>(words, table, half, a);
    }
  }
  HFC_FUNCTION float row_scale(const uint8_t* rows, int half) { return *(const float*)(rows + (hfc_mma_row() + 8 * half) * STRIDE); }
};

// Values, transposed: rows are elements, k positions. element(): of row hfc_mma_row() + 8 * half of product `step`.
template <int SIZE> struct hfc_q8_values {
  enum { STRIDE = SIZE / 32 * 34, WORDS = SIZE / 32, SHARING = 256 / SIZE };  // lanes that share a block
  HFC_FUNCTION int block() { return hfc_mma_row() / SHARING; }
  HFC_FUNCTION int first() { return hfc_mma_row() % SHARING * WORDS; }
  HFC_FUNCTION int element(int step, int half) { return hfc_q8_element(block(), first() + step / 2, step % 2 * 2 + half); }
  template <uint32_t WHICH> HFC_FUNCTION uint32_t scaled(uint32_t bytes, hfc_half2 scales) {
    return __builtin_bit_cast(uint32_t, hfc_two_codes<WHICH>(bytes) * scales);
  }
  HFC_FUNCTION void add(const uint8_t* rows, const uint32_t (&weights)[2], float (&sum)[SIZE / 16][4]) {
    const bool odd = block() % 2;
    const uint32_t* words[4];
    uint32_t first_words[4];
#pragma unroll
    for (int p = 0; p < 4; p++) {
      words[p] = (const uint32_t*)(rows + (2 * hfc_mma_column() + p % 2 + p / 2 * 8) * STRIDE + (34 * block() & ~3));
      first_words[p] = words[p][0];
      words[p] += 1 + first();
    }
    const uint32_t halves = odd ? HFC_HIGH_HALVES : HFC_LOW_HALVES, last = odd || first() + WORDS < 8 ? 0x7654u : 0x5432u;
    hfc_half2 scales[2];
#pragma unroll
    for (int s = 0; s < 2; s++)
      scales[s] = __builtin_bit_cast(hfc_half2, hfc_bytes_of(first_words[2 * s], first_words[2 * s + 1], halves));
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
      uint32_t x[4], a[2][4];
#pragma unroll
      for (int p = 0; p < 4; p++) {
        x[p] = words[p][w];
        if (w == WORDS - 1) x[p] = hfc_bytes_of(first_words[p], x[p], last);
        x[p] ^= 0x80808080u;
      }
#pragma unroll
      for (int s = 0; s < 2; s++) {  // two neighbouring positions
        const uint32_t low = hfc_bytes_of(x[2 * s], x[2 * s + 1], 0x5140u), high = hfc_bytes_of(x[2 * s], x[2 * s + 1], 0x7362u);
        a[0][2 * s] = scaled<HFC_LOW_CODES>(low, scales[s]), a[0][2 * s + 1] = scaled<HFC_HIGH_CODES>(low, scales[s]);
        a[1][2 * s] = scaled<HFC_LOW_CODES>(high, scales[s]), a[1][2 * s + 1] = scaled<HFC_HIGH_CODES>(high, scales[s]);
      }
      hfc_mma(sum[2 * w], a[0], weights);
      hfc_mma(sum[2 * w + 1], a[1], weights);
    }
  }
};
