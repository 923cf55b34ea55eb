"""All ops, by family. Importing this package fills the registry `OPS`."""

import importlib
import pkgutil

from hfc.ir.opdef import OPS, OpDef, definition

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["OPS", "OpDef", "definition"]
