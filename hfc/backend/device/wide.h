// Pieces of linear_wide (skeletons/linear/wide).

// d plus the products of eight weights and eight inputs, in their order.
HFC_FUNCTION float hfc_fma8(const float (&q)[8], hfc_float4 a, hfc_float4 b, float d) {
  d = __builtin_fmaf(q[0], a.x, d), d = __builtin_fmaf(q[1], a.y, d);
  d = __builtin_fmaf(q[2], a.z, d), d = __builtin_fmaf(q[3], a.w, d);
  d = __builtin_fmaf(q[4], b.x, d), d = __builtin_fmaf(q[5], b.y, d);
  d = __builtin_fmaf(q[6], b.z, d), d = __builtin_fmaf(q[7], b.w, d);
  return d;
}
