"""mypy's errors in the packages that facts and plans pass through: their numbers fall, and never rise again."""

import json
import re
from collections import Counter
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parent.parent
LIMITS = Path(__file__).parent / "data" / "mypy_errors.json"  # package -> errors


def test_type_errors_only_become_fewer():
    limits = json.loads(LIMITS.read_text())
    output, problems, _status = api.run(
        [
            "--config-file",
            str(ROOT / "pyproject.toml"),
            "--no-error-summary",
            "--no-incremental",
            *(str(ROOT / name) for name in limits),
        ]
    )
    assert not problems, problems
    lines = [line for line in output.splitlines() if re.search(r": error: ", line)]
    found = Counter(dict.fromkeys(limits, 0))
    for line in lines:
        path = line.partition(":")[0]
        found.update(name for name in limits if (ROOT / path).resolve().is_relative_to((ROOT / name).resolve()))
    more = {name: f"{found[name]} instead of {limits[name]}" for name in limits if found[name] > limits[name]}
    assert not more, f"new type errors: {more}\n" + "\n".join(lines)
    fewer = {name: found[name] for name in limits if found[name] < limits[name]}
    assert not fewer, f"fewer type errors than before: write {fewer} into {LIMITS.name}, so that they cannot come back"
