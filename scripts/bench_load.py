#!/usr/bin/env python3
"""How fast weights reach a GPU: GB/s from the checkpoint to device memory, first from the disk, then from the page cache.

    scripts/bench_load.py BUNDLE=CHECKPOINT [--device cuda] [--json OUT]

Peak host memory is that of the process after the loads, without what was resident before them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

from hfc.bundles import load_bundle
from hfc.runtime.executor import load


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="BUNDLE=CHECKPOINT")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path, _, checkpoint = options.model.partition("=")
    bundle = load_bundle(path, trusted=True)
    files = [Path(checkpoint)] if Path(checkpoint).is_file() else list(Path(checkpoint).glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    for file in files:
        forget(file)
    load(bundle, options.device, weights=checkpoint).close()  # also starts the driver, which is not the disk's time
    for file in files:
        forget(file)
    record = {"bytes": size, "disk_gb_s": timed(bundle, options.device, checkpoint, size)}
    record |= {"cached_gb_s": [timed(bundle, options.device, checkpoint, size) for _ in range(3)]}
    record |= {"peak_host_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    print(json.dumps(record))
    if options.json:
        options.json.write_text(json.dumps(record) + "\n")
    return 0


def timed(bundle, device: str, checkpoint: str, size: int) -> float:
    start = time.perf_counter()
    model = load(bundle, device, weights=checkpoint)
    seconds = time.perf_counter() - start
    model.close()
    return round(size / seconds / 1e9, 2)


def forget(file: Path) -> None:
    """Drop the file's pages from the cache, where the system lets us."""
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
