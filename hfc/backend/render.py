"""Templates to source text: one Jinja environment for GPU kernels, host kernels and the headers they include.

A template is named by its path from `backend/`, e.g. "kernels/linear.hip.j2", "host/linear.c.j2". `//%` starts a
statement line, `//#` a comment line; an undefined variable is an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
    return made


def f32(number: float) -> str:
    """A number as a C float literal that reads back as the same float32: 0.1 -> 0.1f, 8 -> 8.0f."""
    text = repr(float(number))
    return text + "f"


def render(template_path: str, **variables) -> str:
    """The template's text with `variables` filled in. A missing variable is jinja2.UndefinedError: a bug of ours."""
    return environment().get_template(template_path).render(**variables)
