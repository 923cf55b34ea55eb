"""Writes what `hfc predict` says of the linears of official shapes to tests/data/predicted.csv, pair by pair.

    python scripts/record_predicted.py MODEL,... ARCH,... decode,prefill

Rows of other pairs stay as they are. tests/isa/test_isa_predicted.py fails when a linear becomes 2 % slower than its row; record again
when one has become faster, or slower for a reason that the commit names.
"""

import sys
from pathlib import Path

from hfc.compiler import CompileOptions, compile_model
from hfc.predict.cards import find_cards
from hfc.predict.launch import site_of
from hfc.predict.record import read_table, speeds, write_table

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tests/data/predicted.csv"


def main() -> None:
    models, archs, programs = (words.split(",") for words in sys.argv[1:4])
    for model in models:
        for arch in archs:
            config = ROOT / f"tests/data/configs/{model}.config.json"
            bundle = compile_model(str(config), [arch], CompileOptions(kv="asym3", ctx=4096, default_format="mq4g256"))
            for program in programs:
                found = speeds(bundle, model, arch, program, site_of(*find_cards(arch)[0]))
                kept = read_table(TABLE) if TABLE.exists() else []
                done = (model, arch, program)
                write_table(TABLE, [row for row in kept if row.key[:3] != done] + found)
                print(*done, len(found), flush=True)


main()
