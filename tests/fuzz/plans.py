"""Mutated plans of real bundles: each is refused with a message or runs, and nothing else happens to the process.

`python plans.py FOLDER FIRST COUNT` prints a line for each case; it runs in a process of its own, since the fault that it looks for
is a process that ends.
"""

from __future__ import annotations

import io
import json
import random
import sys
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_driver import FakeDriver
from fuzz.mutate import mutated_json

from hfc.base.diagnostics import HfcError
from hfc.bundles import read_bundle
from hfc.plan import MANIFEST
from hfc.runtime.executor import load, plan_for
from hfc.runtime.gpu import GpuModel
from hfc.runtime.null import NullModel
from hfc.runtime.random_weights import RandomWeights
from hfc.step import Step

GPU = "sm_90"  # the one whose driver the tests imitate
STEPS = ((1, 0), (1, 40), (5, 0), (40, 0))  # rows and position


def damaged(data: bytes, seed: int) -> bytes:
    """The bundle with a damaged plan; its other files, and their hashes, are as they were."""
    rng = random.Random(seed)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        manifest = json.loads(source.read(MANIFEST))
        arch = rng.choice(sorted(manifest["plans"]))
        manifest["plans"][arch] = mutated_json(manifest["plans"][arch], rng, rng.choice((1, 1, 1, 2, 3)))
        target.writestr(MANIFEST, json.dumps(manifest))
        for name in manifest["files"]:
            target.writestr(name, source.read(name))
    return out.getvalue()


def outcome(data: bytes) -> str:
    """ "refused: why", or "ran"."""
    try:
        bundle = read_bundle(data, "mutated.hfp")
        for arch in bundle.plans:
            plan = plan_for(bundle, arch)
            model = (
                load(bundle, threads=2) if arch == "host"
                else GpuModel(bundle, plan, FakeDriver(arch), RandomWeights(plan.context)) if arch == GPU
                else NullModel(plan)
            )  # fmt: skip
            try:
                _run(model)
            finally:
                model.close()
    except HfcError as error:
        return f"refused: {error.message}"
    return "ran"


def _run(model) -> None:
    for rows, position in STEPS:
        if rows <= model.max_rows and position + rows <= model.context:
            model.forward(Step.single(np.ones(rows, np.int32), position, outputs="last"))


def main() -> None:
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    bundles = [path.read_bytes() for path in sorted(folder.glob("*.hfp"))]
    for seed in range(first, first + count):
        said = outcome(damaged(bundles[seed % len(bundles)], seed))
        print(seed, *said.splitlines(), flush=True)  # a message may quote a name with a line break


if __name__ == "__main__":
    main()
