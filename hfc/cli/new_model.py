"""`hfc new-model`: the beginning of a model file, from a config and the names of a checkpoint's tensors."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.whole_file import write_whole
from hfc.compiler import open_weights
from hfc.frontend.parse import parse
from hfc.frontend.skeleton import skeleton


def command(config: str, output: Path | None, force: bool) -> None:
    """Write a .hfm that names every config key and every tensor, and marks with ? what is to be decided."""
    settings, kind, checkpoint, path = open_weights(Path(config))
    if kind != "hf":
        raise HfcError(f"{path}: a GGUF file", hint="begin with the config.json, and add its names from `hfc inspect`")
    text = skeleton(settings, checkpoint, path.name if path.name != "config.json" else path.parent.name)
    parse(text, "the new model file")
    if output is None:
        print(text, end="")
        return
    if output.exists() and not force:
        raise HfcError(f"{output}: exists already", hint="--force writes over it")
    write_whole(output, text.encode(), "the model file")
    doubts = sum("# ?" in line for line in text.splitlines())
    print(f"{output}: {doubts} lines to decide; then `hfc check-model {output} --weights {config}`")
