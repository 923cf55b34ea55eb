"""Templates to source text: one Jinja environment for GPU kernels, host kernels and the headers they include.

A template is named by its path from `backend/`, e.g. "skeletons/map/map.hip.j2". `//%` starts a statement line, `//#` a
comment line; an undefined variable is an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta, nodes

from hfc.backend.lanes.elements import element_source
from hfc.backend.lanes.kv_rows import row_of, row_source
from hfc.formats.tile import tile_layout

BACKEND = Path(__file__).parent


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(BACKEND),
        undefined=StrictUndefined,
        line_statement_prefix="//%",
        line_comment_prefix="//#",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        extensions=["jinja2.ext.do"],
    )
    made.filters["f32"] = f32
    made.filters["tile"] = tile_layout
    made.filters["element_source"], made.filters["kv_source"], made.filters["kv_row"] = (
        element_source,
        row_source,
        row_of,
    )
    return made


def f32(number: float) -> str:
    """A number as a C float literal that reads back as the same float32: 0.1 -> 0.1f, 8 -> 8.0f."""
    text = repr(float(number))
    return text + "f"


def render(template_path: str, **variables) -> str:
    """The template's text with `variables` filled in. A missing variable is jinja2.UndefinedError: a bug of ours."""
    return environment().get_template(template_path).render(**variables)


@cache
def variables_of(template_path: str) -> frozenset[str]:
    """The variables that a template must be given, for itself and for what it includes or imports."""
    made = environment()
    assert made.loader
    tree = made.parse(made.loader.get_source(made, template_path)[0])
    own = {name.name for node in tree.find_all((nodes.Assign, nodes.Macro)) for name in _assigned(node)}
    imported = {n if isinstance(n, str) else n[1] for node in tree.find_all(nodes.FromImport) for n in node.names}
    needed = set(meta.find_undeclared_variables(tree))
    for path in meta.find_referenced_templates(tree):
        assert path, f"{template_path}: templates are named by constants"
        needed |= variables_of(path) - own - imported
    return frozenset(needed)


def _assigned(node: nodes.Node) -> list[nodes.Name]:
    """The names that a statement defines."""
    if isinstance(node, nodes.Macro):
        return [nodes.Name(node.name, "store")]
    assert isinstance(node, nodes.Assign)
    return [node.target] if isinstance(node.target, nodes.Name) else list(node.target.find_all(nodes.Name))
