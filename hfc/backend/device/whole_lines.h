// Loads of weights for which L2 fetches the rest of their 128 bytes: other lanes and waves read on from there.
#pragma once
#if defined(HFC_WHOLE_LINES)
HFC_FUNCTION hfc_uint4 hfc_four_words(const uint8_t* at) {
  hfc_uint4 v;
  asm("ld.global.nc.L2::128B.v4.u32 { %0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}
HFC_FUNCTION hfc_uint2 hfc_two_words(const uint8_t* at) {
  hfc_uint2 v;
  asm("ld.global.nc.L2::128B.v2.u32 { %0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(at));
  return v;
}
#endif
