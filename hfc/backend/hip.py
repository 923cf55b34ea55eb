"""A bound region to the source of its GPU kernel: self-contained HIP that compiles for AMD, and for NVIDIA as CUDA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from hfc.backend.headers import headers_for
from hfc.backend.lanes.elements import element_source
from hfc.backend.lanes.kv_rows import row_source
from hfc.backend.lanes.kv_runs import run_source
from hfc.backend.render import render, variables_of
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.spec import Arg, Bound
from hfc.formats import block_format
from hfc.target.arch import Arch

HEADERS_STAND_HERE = "// the headers stand here\n"
# What every template may use, beside the fields of its region and of its own parameters.
STANDARD = frozenset(
    {"symbol", "preface", "params", "row_count", "args", "block", "arch", "max_rows", "context", "slots"}
)


def hip_source(bound: Bound, arch: Arch, shape: Geometry, max_rows: int, context: int, slots: int) -> str:
    """The kernel `shape.symbol`: `const int32_t* step`, the pointers of `bound.args` in order, then `shape.scratch`."""
    standard = dict(
        symbol=shape.symbol,
        preface=_preface(bound, arch, max_rows) + shape.loaders,
        params=", ".join(["const int32_t* __restrict__ step", *map(_param, bound.args), *map(_scratch, shape.scratch)]),
        row_count=_row_count(bound),
        args=bound.args,
        block=shape.block,
        arch=arch,
        max_rows=max_rows,
        context=context,
        slots=slots,
    )
    own = {f.name: getattr(shape.params, f.name) for f in fields(shape.params)}
    region = {f.name: getattr(bound.region, f.name) for f in fields(bound.region)}
    path, wanted = shape.template.file, variables_of(shape.template.file)
    unused = own.keys() - wanted
    assert not unused, f"{path}: declared and not used: {', '.join(sorted(unused))}"
    given = {**region, **standard, **own}
    undeclared = wanted - given.keys()
    assert not undeclared, f"{path}: used and not declared: {', '.join(sorted(undeclared))}"
    return _with_headers(render(path, **{name: given[name] for name in wanted}))


def _param(arg: Arg) -> str:
    # Only weights and constants are restrict: the planner may lay an output over an input that it replaces.
    alone = " __restrict__" if arg.is_read_only else ""
    return f"{'' if arg.written else 'const '}{arg.ctype}*{alone} {arg.name}"


def _scratch(scratch: Scratch) -> str:
    return f"{'' if scratch.written else 'const '}{scratch.ctype}* __restrict__ {scratch.name}"


def _row_count(bound: Bound) -> str:
    count = "hfc_outputs(step)" if bound.rows == "R" else "hfc_rows(step)"
    return f"{count} * {bound.region.rows_per_row}" if bound.region.rows_per_row > 1 else count


def _preface(bound: Bound, arch: Arch, max_rows: int) -> str:
    """Constants, where headers come, and the loaders of the formats that the region reads or writes."""
    constants = f"#define WAVE {arch.wave}\n#define MAX_ROWS {max_rows}\n"
    return constants + _features(arch) + HEADERS_STAND_HERE + "\n".join(_loaders(bound))


def _features(arch: Arch) -> str:
    return "".join(f"#define HFC_{feature.upper()}\n" for feature in sorted(arch.features))


def standalone_source(arch: Arch, text: Callable[[str], str]) -> str:
    """A kernel of no region. text: the kernel behind a preface."""
    return _with_headers(text(_features(arch) + HEADERS_STAND_HERE))


def _with_headers(source: str) -> str:
    """The source with the definitions that it uses, where they stand."""
    return source.replace(HEADERS_STAND_HERE, headers_for(source), 1)


def _loaders(bound: Bound) -> list[str]:
    region = bound.region
    weights = {a.value.type.dtype: block_format(a.value.type.dtype) for a in bound.args if a.is_weight and a.value}
    weights |= {form.name: form for form in region.weight_formats}
    runs = [run_source(form, region.kv_head_size, "HFC_FUNCTION") for form in region.kv_formats if region.kv_head_size]
    return [
        *(element_source(form, "HFC_FUNCTION") for form in weights.values()),
        *(row_source(form, "HFC_FUNCTION") for form in region.kv_formats),
        *runs,
    ]
