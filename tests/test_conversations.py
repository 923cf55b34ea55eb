"""How many conversations fit into a prefix cache, as docs/scale.md tells it, is what plans say."""

import re
from pathlib import Path

import pytest

from hfc.compiler import CompileOptions, open_source, outline, settings_for
from hfc.runtime.fit import need_of
from hfc.target.arch import ARCHS

ROOT = Path(__file__).resolve().parent.parent
ROWS = re.findall(
    r"^\| (\S+) \| ([\d.]+) \| (\d+) \| ([\d.]+) \| (\d+) \([\d.]+\) \| [\d.]+ \|$",
    (ROOT / "docs/scale.md").read_text(),
    re.M,
)


@pytest.mark.parametrize("kv", ["q8", "fwht4/q4"])
def test_the_table_is_what_plans_say(kv):
    (row,) = [row for row in ROWS if row[0] == kv]
    for name, megabytes, fit in (("0.8B", *row[1:3]), ("27B", *row[3:5])):
        source = open_source(ROOT / f"tests/data/configs/Qwen3.5-{name}.config.json", None, "q4_k")
        need = need_of(outline(source, settings_for(source, ARCHS["host"], CompileOptions(ctx=1024, slots=1, kv=kv))))
        each = need.per_slot - need.journal + 1000 * need.per_token
        assert f"{each / 1e6:.1f}" == megabytes and (1 << 30) // each == int(fit)
