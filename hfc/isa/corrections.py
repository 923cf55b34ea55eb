"""Where the published pseudocode is not what the hardware does, or is missing: our text for it, each with a reason.

The texts are in the same language, so one translator serves both. Names are LLVM's, without the encoding.
"""

from __future__ import annotations

import re

from hfc.base.dataclass import dataclass

INEXACT_POWER = "2.0 ** n overflows for |n| > 127 although the product is finite; hardware scales in one step"
ROUND_EVEN = "x + 0.5 rounds for |x| just below 0.5 and above 2^23; hardware rounds to even exactly"
NOT_PRINTED = "an instruction of older parts that the three manuals no longer print"
FREXP = "0 and denormals: the biased exponent alone is not the exponent of a fraction in [0.5, 1)"
LANE_CARRY = "VCC is this lane's bit, D0 = S0 unless scaled, and a huge S1 is scaled down (up, it would be infinite)"
FMAS = "the printed factor does not undo the scaling of div_scale, which goes up or down; and there is one rounding"
OVERFLOW = "a quotient that overflows reaches this step as inf - inf; hardware gives infinity"
EXACT_TURNS = "2 pi x rounds before it is reduced; hardware takes x in turns and drops whole ones, which is exact"
NEAREST_EVEN = "the manual sets ROUND_MODE to what kernels have it at anyway"
TOWARD_ZERO = "the manual sets ROUND_MODE; a conversion of its own vectorises"


@dataclass(frozen=True)
class Correction:
    """pseudocode for `name`; reason: why it replaces or adds to the published text."""

    name: str
    pseudocode: str
    reason: str


def _div_scale(f: str, limit: int, scale: int, low: int) -> str:
    """f: "f32"/"f64". `reciprocal_is_denormal`: |S1| so large that 1 / S1 is below the normal range."""
    big = {"f32": 253, "f64": 2045}[f]
    return f"""
    D0.{f} = S0.{f};
    if ((S2.{f} == 0) || (S1.{f} == 0)) then D0.{f} = NAN.{f}
    elsif exponent(S2.{f}) - exponent(S1.{f}) >= {limit} then
      VCC.u64[laneId] = 1'1U;
      if S0.{f} == S1.{f} then D0.{f} = ldexp(S0.{f}, {scale}) endif
    elsif S1.{f} == DENORM.{f} then D0.{f} = ldexp(S0.{f}, {scale})
    elsif ((exponent(S1.{f}) >= {big}) && (S2.{f} / S1.{f} == DENORM.{f})) then
      VCC.u64[laneId] = 1'1U;
      if S0.{f} == S1.{f} then D0.{f} = ldexp(S0.{f}, -{scale}) endif
    elsif exponent(S1.{f}) >= {big} then D0.{f} = ldexp(S0.{f}, -{scale})
    elsif S2.{f} / S1.{f} == DENORM.{f} then
      VCC.u64[laneId] = 1'1U;
      if S0.{f} == S2.{f} then D0.{f} = ldexp(S0.{f}, {scale}) endif
    elsif exponent(S2.{f}) <= {low} then D0.{f} = ldexp(S0.{f}, {scale})
    endif"""


def _div_fmas(f: str, middle: int, scale: int) -> str:
    return f"""
    if VCC.u64[laneId] then
      D0.{f} = fma_scaled(S0.{f}, S1.{f}, S2.{f}, (exponent(S2.{f}) > {middle}) ? {scale} : -{scale})
    else D0.{f} = fma(S0.{f}, S1.{f}, S2.{f}) endif"""


def _div_fixup(f: str, tiny: int) -> str:
    """tiny: quotients with a smaller exponent round to 0."""
    return f"""
    sign_out = (sign(S1.{f}) ^ sign(S2.{f}));
    if isNAN(S2.{f}) then D0.{f} = cvtToQuietNAN(S2.{f})
    elsif isNAN(S1.{f}) then D0.{f} = cvtToQuietNAN(S1.{f})
    elsif (((S1.{f} == 0) && (S2.{f} == 0)) || ((abs(S1.{f}) == +INF) && (abs(S2.{f}) == +INF))) then D0.{f} = -NAN.{f}
    elsif ((S1.{f} == 0) || (abs(S2.{f}) == +INF)) then D0.{f} = sign_out ? -INF.{f} : +INF.{f}
    elsif ((abs(S1.{f}) == +INF) || (S2.{f} == 0)) then D0.{f} = sign_out ? -0.0 : 0.0
    elsif exponent(S2.{f}) - exponent(S1.{f}) < -{tiny} then D0.{f} = sign_out ? -0.0 : 0.0
    elsif isNAN(S0.{f}) then D0.{f} = sign_out ? -INF.{f} : +INF.{f}
    else D0.{f} = sign_out ? -abs(S0.{f}) : abs(S0.{f})
    endif"""


def _multiply_add(f: str) -> list[Correction]:
    return [
        Correction(name, text, NOT_PRINTED)
        for name, text in (
            (f"v_mad_{f}", f"D0.{f} = S0.{f} * S1.{f} + S2.{f}"),
            (f"v_mac_{f}", f"D0.{f} = S0.{f} * S1.{f} + D0.{f}"),
            (f"v_madak_{f}", f"D0.{f} = S0.{f} * S1.{f} + SIMM32.{f}"),
            (f"v_madmk_{f}", f"D0.{f} = S0.{f} * SIMM32.{f} + S1.{f}"),
        )
    ]


def _frexp(f: str, d: str) -> Correction:
    return Correction(f"v_frexp_exp_{d}_{f}", f"D0.{d} = frexp_exponent(S0.{f})", FREXP)


CORRECTIONS: dict[str, Correction] = {
    c.name: c
    for c in (
        Correction("v_div_scale_f32", _div_scale("f32", 96, 64, 23), LANE_CARRY),
        Correction("v_div_scale_f64", _div_scale("f64", 768, 128, 53), LANE_CARRY),
        Correction(
            "v_div_fmas_f32",
            _div_fmas("f32", 127, 64),
            FMAS,
        ),
        Correction(
            "v_div_fmas_f64",
            _div_fmas("f64", 1023, 128),
            FMAS,
        ),
        Correction("v_div_fixup_f32", _div_fixup("f32", 150), OVERFLOW),
        Correction("v_div_fixup_f64", _div_fixup("f64", 1075), OVERFLOW),
        Correction("v_ldexp_f16", "D0.f16 = ldexp(S0.f16, 32'I(S1.i16))", INEXACT_POWER),
        Correction("v_ldexp_f32", "D0.f32 = ldexp(S0.f32, S1.i32)", INEXACT_POWER),
        Correction("v_ldexp_f64", "D0.f64 = ldexp(S0.f64, S1.i32)", INEXACT_POWER),
        *(
            Correction(f"{p}_rndne_{f}", f"D0.{f} = rint(S0.{f})", ROUND_EVEN)
            for p in "vs"
            for f in ("f16", "f32", "f64")
        ),
        *(
            Correction(n, "D0.b32 = { f32_to_f16_rtz(S1.f32), f32_to_f16_rtz(S0.f32) }", TOWARD_ZERO)
            for n in ("v_cvt_pkrtz_f16_f32", "v_cvt_pk_rtz_f16_f32", "s_cvt_pk_rtz_f16_f32")
        ),
        *(
            Correction(f"v_cvt_pk_{f}_f32", f"D0.b32 = {{ f32_to_{f}(S1.f32), f32_to_{f}(S0.f32) }}", NEAREST_EVEN)
            for f in ("f16", "bf16")
        ),
        _frexp("f16", "i16"),
        _frexp("f32", "i32"),
        _frexp("f64", "i32"),
        Correction(
            "v_cvt_off_f32_i4", "D0.f32 = i32_to_f32(32'I(S0.i4)) * 0.0625F", "the manual gives a table by name only"
        ),
        Correction("v_cvt_i16_f32", "D0.i16 = i32_to_i16(f32_to_i32(S0.f32))", "only named by v_cvt_pk_i16_f32"),
        Correction("v_cvt_u16_f32", "D0.u16 = u32_to_u16(f32_to_u32(S0.f32))", "only named by v_cvt_pk_u16_f32"),
        Correction(
            "v_fmac_dx9_zero_f32",
            "if ((S0.f32 == 0) || (S1.f32 == 0)) then D0.f32 = D0.f32 else D0.f32 = fma(S0.f32, S1.f32, D0.f32) endif",
            "the manual reads S2, which this encoding does not have",
        ),
        Correction(
            "v_pk_mov_b32",
            "D0.b64 = { OPSEL[1] ? S1.u64[63 : 32] : S1.u64[31 : 0], OPSEL[0] ? S0.u64[63 : 32] : S0.u64[31 : 0] }",
            "the manual indexes bits with run-time bounds",
        ),
        *(
            Correction(f"v_{function}_{t}", f"D0.{t} = {function}_turns(S0.{t})", EXACT_TURNS)
            for function in ("sin", "cos")
            for t in ("f16", "f32")
        ),
        Correction("v_cvt_f32_bf16", "D0.f32 = bf16_to_f32(S0.bf16)", "one conversion for all parts"),
        *_multiply_add("f16"),
        *_multiply_add("f32"),
        *(
            Correction(n, "D0.b32 = S0.b32", "registers of the matrix unit are registers here")
            for n in (
                "v_accvgpr_write_b32",
                "v_accvgpr_read_b32",
                "v_accvgpr_mov_b32",
                "v_accvgpr_write",
                "v_accvgpr_read",
                "v_accvgpr_mov",
            )
        ),
        *(
            Correction(n, t, NOT_PRINTED)
            for n, t in (
                ("v_exp_legacy_f32", "D0.f32 = pow(2.0F, S0.f32)"),
                ("v_log_legacy_f32", "D0.f32 = log2(S0.f32)"),
                ("v_mul_lo_i32", "D0.i32 = S0.i32 * S1.i32"),
            )
        ),
    )
}

REASON_CLAMP = "the manual describes integer clamp in prose"


def clamped(name: str) -> str | None:
    """Pseudocode of an integer instruction with clamp: it saturates instead of wrapping. None if not known."""
    if match := re.fullmatch(r"v_(add|sub|subrev)_(?:nc_|co_)?([iu])(16|32)", name):
        a, b = ("S1", "S0") if match[1] == "subrev" else ("S0", "S1")
        t, op = match[2] + match[3], "+" if match[1] == "add" else "-"
        return f"D0.{t} = sat_{t}(64'I({a}.{t}) {op} 64'I({b}.{t}))"
    if match := re.fullmatch(r"v_pk_(add|sub)_([iu])16", name):
        t, op = f"{match[2]}16", "+" if match[1] == "add" else "-"
        half = "sat_{t}(64'I(S0[{r}].{t}) {op} 64'I(S1[{r}].{t}))"
        parts = (half.format(t=t, op=op, r=r) for r in ("31 : 16", "15 : 0"))
        return "D0.b32 = {{ {}, {} }}".format(*tuple(parts))
    if match := re.fullmatch(r"v_mad_([iu])(16|32)_?\w*", name):
        t = match[1] + ("24" if "24" in name else "16")
        out = match[1] + match[2]
        return f"D0.{out} = sat_{out}(64'I(S0.{t}) * 64'I(S1.{t}) + 64'I(S2.{out}))"
    return None
