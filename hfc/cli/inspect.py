"""`hfc inspect`: what a checkpoint holds."""

from __future__ import annotations

import json
import math

from hfc.cli.open_model import resolve
from hfc.cli.table import table
from hfc.formats.checkpoint import Checkpoint, open_checkpoint
from hfc.formats.checkpoint.container import method_of, report_of


def command(
    model: str,
    as_json: bool,
) -> None:
    """Print every tensor with its format, bits per weight, and the quality report if there is one."""
    with open_checkpoint(resolve(model).path) as checkpoint:
        found = contents(checkpoint)
    print(json.dumps(found, indent=1) if as_json else describe(found))


def contents(checkpoint: Checkpoint) -> dict:
    """Plain data: tensors, totals by format, report."""
    tensors, formats = [], {}
    for name in checkpoint.names():
        info = checkpoint.info(name)
        format = checkpoint.stored_format(name)
        tensors.append({"name": name, "shape": list(info.shape), "format": format, "bytes": info.nbytes})
        row = formats.setdefault(format, {"tensors": 0, "weights": 0, "bytes": 0})
        row["tensors"] += 1
        row["weights"] += math.prod(info.shape)
        row["bytes"] += info.nbytes
    weights, nbytes = (sum(row[key] for row in formats.values()) for key in ("weights", "bytes"))
    return {
        "path": str(checkpoint.path),
        "kind": checkpoint.kind,
        "weights": weights,
        "bytes": nbytes,
        "bits_per_weight": 8 * nbytes / max(1, weights),
        "method": method_of(checkpoint.metadata),
        "formats": formats,
        "report": report_of(checkpoint.metadata, str(checkpoint.path)),
        "tensors": tensors,
    }


def describe(found: dict) -> str:
    tensors = table(
        ("tensor", "shape", "format", "bytes"),
        [(t["name"], "x".join(map(str, t["shape"])), t["format"], t["bytes"]) for t in found["tensors"]],
    )
    formats = table(
        ("format", "tensors", "weights", "bytes", "bits"),
        [
            (n, f["tensors"], f["weights"], f["bytes"], round(8 * f["bytes"] / max(1, f["weights"]), 3))
            for n, f in found["formats"].items()
        ],
    )
    lines = [
        tensors,
        "",
        formats,
        "",
        f"{found['weights']:,} weights, {found['bits_per_weight']:.3f} bits each ({found['kind']})",
    ]
    lines += [f"packed with {found['method']}"] if found["method"] else []
    return "\n".join(lines + [f"{key:24} {value}" for key, value in found["report"].items()])
