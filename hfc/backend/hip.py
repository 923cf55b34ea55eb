"""A bound region to the source of its GPU kernel: self-contained HIP that compiles for AMD, and for NVIDIA as CUDA."""

from __future__ import annotations

from hfc.backend.geometry import Geometry, Scratch
from hfc.backend.render import render
from hfc.backend.spec import Arg, Bound
from hfc.formats import weight_format
from hfc.formats.kv_run import run_source
from hfc.target.arch import Arch

HEADERS = ("types", "wave", "math", "step", "codes", "matrix", "operands", "dots", "lines", "rotate")


def hip_source(bound: Bound, arch: Arch, shape: Geometry, max_rows: int, context: int, slots: int) -> str:
    """The kernel `shape.symbol`: `const int32_t* step`, the pointers of `bound.args` in order, then `shape.scratch`."""
    return render(
        shape.template,
        **{**bound.extra, **shape.numbers},
        symbol=shape.symbol,
        preface=_preface(bound, arch, max_rows) + shape.loaders,
        params=", ".join(["const int32_t* __restrict__ step", *map(_param, bound.args), *map(_scratch, shape.scratch)]),
        row_count=_row_count(bound),
        args=bound.args,
        arch=arch,
        max_rows=max_rows,
        context=context,
        slots=slots,
    )


def _param(arg: Arg) -> str:
    # Only weights and constants are restrict: the planner may lay an output over an input that it replaces.
    alone = " __restrict__" if arg.kind in ("weight", "const") else ""
    return f"{'' if arg.written else 'const '}{arg.ctype}*{alone} {arg.name}"


def _scratch(scratch: Scratch) -> str:
    return f"{'' if scratch.written else 'const '}{scratch.ctype}* __restrict__ {scratch.name}"


def _row_count(bound: Bound) -> str:
    count = "hfc_outputs(step)" if bound.rows == "R" else "hfc_rows(step)"
    return f"{count} * {bound.extra['top']}" if bound.stem == "linear" and bound.extra["top"] else count


def _preface(bound: Bound, arch: Arch, max_rows: int) -> str:
    """Constants, headers, and the loaders of the formats that the region reads or writes."""
    constants = f"#define WAVE {arch.wave}\n#define MAX_ROWS {max_rows}\n"
    constants += "".join(f"#define HFC_{feature.upper()}\n" for feature in sorted(arch.features))
    headers = [render(f"device/{name}.h").replace("#pragma once\n", "") for name in HEADERS]
    return constants + "\n".join(headers + _loaders(bound))


def _loaders(bound: Bound) -> list[str]:
    weights = {
        a.value.type.dtype: weight_format(a.value.type.dtype) for a in bound.args if a.kind == "weight" and a.value
    }
    weights |= {part.format.name: part.format for part in bound.extra.get("parts", ())}
    kv = [bound.extra[key] for key in ("k_format", "v_format") if key in bound.extra]
    kv = list(dict.fromkeys([*kv, *bound.extra.get("kv_formats", ())]))
    return [
        *(form.loader("HFC_FUNCTION") for form in weights.values()),
        *(form.loader("HFC_FUNCTION") + form.writer("HFC_FUNCTION") for form in kv),
        *(run_source(form, bound.extra["size"], "HFC_FUNCTION") for form in kv if bound.stem == "attend"),
    ]
