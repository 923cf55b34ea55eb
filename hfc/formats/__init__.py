"""Weight formats, KV formats and checkpoint readers. A module with a FORMAT in quant/ or kv/ is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from hfc.base.diagnostics import unknown
from hfc.formats import kv, quant
from hfc.formats.block import BlockFormat
from hfc.formats.kv_format import KvFormat
from hfc.formats.rows import RowFormat


def _discover(package) -> dict:
    """FORMAT of every module of `package`, by its name."""
    found = {}
    for module_info in pkgutil.iter_modules(package.__path__):
        form = importlib.import_module(f"{package.__name__}.{module_info.name}").FORMAT
        assert form.name == module_info.name, f"{package.__name__}.{module_info.name} exports {form.name}"
        found[form.name] = form
    return found


READABLE: dict[str, BlockFormat | RowFormat] = _discover(quant)  # what files may hold
# what kernels read
FORMATS: dict[str, BlockFormat] = {name: form for name, form in READABLE.items() if isinstance(form, BlockFormat)}
KV_FORMATS: dict[str, KvFormat] = _discover(kv)


def weight_format(name: str) -> BlockFormat | RowFormat:
    """The weight format called `name`; an unknown name is a user error."""
    if name not in READABLE:
        raise unknown("weight format", name, READABLE)
    return READABLE[name]


def block_format(name: str) -> BlockFormat:
    """The format of weights that kernels read block by block."""
    form = weight_format(name)
    assert isinstance(form, BlockFormat), f"{name} is read by rows alone"
    return form


def loaded_format(name: str) -> str:
    """The format that weights stored as `name` have in memory."""
    form = weight_format(name)
    return form.blocks.name if isinstance(form, RowFormat) else name


def kv_format(name: str) -> KvFormat:
    """The KV-cache format called `name`; an unknown name is a user error."""
    if name not in KV_FORMATS:
        raise unknown("KV format", name, KV_FORMATS)
    return KV_FORMATS[name]
