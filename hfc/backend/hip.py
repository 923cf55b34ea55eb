"""A bound region to the source of its GPU kernel: self-contained HIP that compiles for AMD, and for NVIDIA as CUDA."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields

from hfc.backend.headers import headers_for
from hfc.backend.lanes.elements import element_source
from hfc.backend.lanes.kv_rows import row_source
from hfc.backend.lanes.kv_runs import run_source
from hfc.backend.render import render, variables_of
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.spec import Arg, Bound
from hfc.base.dataclass import dataclass
from hfc.formats import block_format
from hfc.target.arch import Arch

HEADERS_STAND_HERE = "// the headers stand here\n"
# What every template may use, beside the fields of its region and of its own parameters. region: all those fields as one.
STANDARD = frozenset(
    {"symbol", "region", "preface", "params", "row_count", "args", "block", "arch", "max_rows", "context", "slots"}
)


@dataclass(frozen=True)
class _Plan:
    """What kernels know of the plan that they stand in."""

    arch: Arch
    max_rows: int
    context: int
    slots: int

    @property
    def constants(self) -> str:
        return f"#define WAVE {self.arch.wave}\n#define MAX_ROWS {self.max_rows}\n{_features(self.arch)}{HEADERS_STAND_HERE}"


def hip_source(bound: Bound, arch: Arch, shape: Geometry, max_rows: int, context: int, slots: int) -> str:
    """The kernel `shape.symbol`: `const int32_t* step`, the pointers of `bound.args` in order, then `shape.scratch`; of kernels side by
    side, those of each."""
    plan = _Plan(arch, max_rows, context, slots)
    return _with_headers(_beside(bound, shape, plan) if shape.beside else _kernel(bound, shape, plan, plan.constants))


def _kernel(bound: Bound, shape: Geometry, plan: _Plan, constants: str) -> str:
    standard = dict(
        symbol=shape.symbol,
        region=bound.region,
        preface=constants + "\n".join(_loaders(bound)) + shape.loaders,
        params=_params(_pointers(bound, shape)),
        row_count=_row_count(bound),
        args=bound.args,
        block=shape.block,
        **vars(plan),
    )
    own = {f.name: getattr(shape.params, f.name) for f in fields(shape.params)}
    region = {f.name: getattr(bound.region, f.name) for f in fields(bound.region)}
    path, wanted = shape.template.file, variables_of(shape.template.file)
    unused = own.keys() - wanted
    assert not unused, f"{path}: declared and not used: {', '.join(sorted(unused))}"
    given = {**region, **standard, **own}
    undeclared = wanted - given.keys()
    assert not undeclared, f"{path}: used and not declared: {', '.join(sorted(undeclared))}"
    return render(path, **{name: given[name] for name in wanted})


def _beside(bound: Bound, shape: Geometry, plan: _Plan) -> str:
    pointers, parts = list[str](), list[dict[str, object]]()
    for number, one in enumerate(shape.beside):
        member = bound.served(one.member)
        own, name = _pointers(member, one), f"part{number}"
        arguments = ", ".join(["step", *(f"{name}_{_name_of(pointer)}" for pointer in own)])
        pointers += [re.sub(r"(\w+)$", rf"{name}_\1", pointer) for pointer in own]
        source = _as_function(_kernel(member, one, plan, ""), one, own)
        by_context = "C" in one.grid[1]
        parts.append(
            dict(name=name, source=source, grid=one.grid, block=one.block, arguments=arguments, by_context=by_context)
        )
    return render(
        shape.template.file,
        preface=plan.constants,
        parts=parts,
        params=_params(pointers),
        symbol=shape.symbol,
        block=shape.block,
        by_context=parts[-1]["by_context"],
    )


def _as_function(source: str, shape: Geometry, pointers: list[str]) -> str:
    """A kernel that another one calls, with the number of its thread block; its macros end with it."""
    head = re.compile(rf'extern "C" __global__ [^\n]*\nvoid {shape.symbol}\(')
    blocks = "const int block_x, const int block_y, const int block_z"
    made, count = head.subn("HFC_FUNCTION void run(", source)
    given = _params(pointers)
    assert count == 1 and made.count(f"run({given})") == 1, f"{shape.symbol}: it has another head than kernels have"
    macros = dict.fromkeys(re.findall(r"(?m)^#define (\w+)", made))
    return made.replace(f"run({given})", f"run({given}, {blocks})") + "\n".join(f"#undef {name}" for name in macros)


def _params(pointers: list[str]) -> str:
    return ", ".join(["const int32_t* __restrict__ step", *pointers])


def _pointers(bound: Bound, shape: Geometry) -> list[str]:
    return [*map(_param, bound.args), *map(_scratch, shape.scratch)]


def _name_of(pointer: str) -> str:
    return pointer.rpartition(" ")[2]


def _param(arg: Arg) -> str:
    # Only weights and constants are restrict: the planner may lay an output over an input that it replaces.
    alone = " __restrict__" if arg.is_read_only else ""
    return f"{'' if arg.written else 'const '}{arg.ctype}*{alone} {arg.name}"


def _scratch(scratch: Scratch) -> str:
    return f"{'' if scratch.written else 'const '}{scratch.ctype}* __restrict__ {scratch.name}"


def _row_count(bound: Bound) -> str:
    count = "hfc_outputs(step)" if bound.rows == "R" else "hfc_rows(step)"
    return f"{count} * {bound.region.rows_per_row}" if bound.region.rows_per_row > 1 else count


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
