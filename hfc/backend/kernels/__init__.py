"""The skeletons, discovered: every module here that exports KERNEL serves the stem it names."""

import importlib
import pkgutil

from hfc.backend.spec import KernelSpec

KERNELS: dict[str, KernelSpec] = {}
for _module in pkgutil.iter_modules(__path__):
    _kernel = importlib.import_module(f"{__name__}.{_module.name}").KERNEL
    KERNELS[_kernel.stem] = _kernel
