"""A bound region to the source of its GPU kernel: self-contained HIP that compiles for AMD, and for NVIDIA as CUDA."""

from __future__ import annotations

from hfc.backend.geometry import STAGE, Geometry, geometry
from hfc.backend.render import render
from hfc.backend.spec import Arg, Bound
from hfc.formats import weight_format
from hfc.target.arch import Arch

HEADERS = ("types", "wave", "math", "step", "codes", "matrix")


def hip_source(
    bound: Bound, arch: Arch, rows_class: str, max_rows: int, context: int, slots: int, shape: Geometry | None = None
) -> str:
    """The kernel `geometry(…).symbol`: `const int32_t* step`, then the pointers of `bound.args`, in order.

    shape: another geometry than the arch's own."""
    shape = shape or geometry(bound, arch, rows_class)
    return render(
        shape.template,
        **{**bound.extra, **shape.numbers},
        symbol=shape.symbol,
        preface=_preface(bound, arch, max_rows) + shape.loaders,
        params=", ".join(["const int32_t* __restrict__ step", *map(_param, bound.args), *_staged(shape, rows_class)]),
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


def _staged(shape: Geometry, rows_class: str) -> list[str]:
    const = "" if rows_class == STAGE else "const "
    return [f"{const}_Float16* __restrict__ staged"] if shape.staged else []


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
    ]
