"""What the prefix caches of `hfc serve` may take, of memory and of disk."""

from __future__ import annotations

import json
from pathlib import Path

from hfc.base.cache import key_of
from hfc.base.dataclass import dataclass
from hfc.base.installed import package_digest
from hfc.base.system import free_memory_bytes
from hfc.formats.checkpoint import open_checkpoint
from hfc.plan import Plan
from hfc.runtime.slots import kv_planes, recurrent_planes
from hfc.serve.cache_files import CacheFiles, free_bytes

USUAL_BYTES, SHARE = 1 << 30, 1 / 8  # of a cache in memory: so much, or a share of what is free if that is more
USUAL_DISK_BYTES, DISK_SHARE = 16 << 30, 1 / 2  # of one on disk, at most


def cache_of(megabytes: int | None) -> int:
    """Bytes of a model's prefix cache in host memory."""
    return max(USUAL_BYTES, int(SHARE * free_memory_bytes())) if megabytes is None else megabytes << 20


@dataclass(frozen=True)
class CacheFolder:
    path: Path
    budget_bytes: int

    def of(self, plan: Plan, weights: str) -> CacheFiles:
        """The part of the folder that belongs to a model, as this version of hfc computes it on such a device."""
        facts = [
            package_digest(), plan.arch, plan.profile, [(p.state, p.name, p.heads, p.row) for p in kv_planes(plan)], recurrent_planes(plan),
            sorted({kernel.symbol for kernel in plan.kernels}),
        ]  # fmt: skip
        with open_checkpoint(Path(weights)) as checkpoint:
            return CacheFiles(self.path, key_of(json.dumps(facts), checkpoint.fingerprint()), self.budget_bytes)


def cache_folder_of(path: Path | None, megabytes: int | None) -> CacheFolder | None:
    if path is None:
        return None
    usual = min(USUAL_DISK_BYTES, int(DISK_SHARE * free_bytes(path.absolute())))
    return CacheFolder(path, usual if megabytes is None else megabytes << 20)
