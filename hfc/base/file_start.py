"""A file that begins as another kind of file does -> one sentence that says what it is, and the next step."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError

_SAFETENSORS = "take its safetensors or a GGUF of it; transformers' save_pretrained() writes safetensors"
# How files begin -> (what they are, what to do)
STARTS = {
    b"version https://git-lfs": (
        "a pointer of Git LFS, the file itself was not fetched",
        "git lfs pull, or hfc pull ORG/REPO",
    ),
    b"PK\x03\x04": ("a PyTorch file (or another zip)", _SAFETENSORS),
    b"\x80\x02\x8a\nl\xfc\x9c": ("a PyTorch file (pickle)", _SAFETENSORS),
    b"\x89HDF": ("an HDF5 file (Keras, TensorFlow)", _SAFETENSORS),
    b"<!doctype": ("a web page, not a model", "fetch the file that the page shows: hfc pull ORG/REPO:FILE"),
    b"<html": ("a web page, not a model", "fetch the file that the page shows: hfc pull ORG/REPO:FILE"),
    b"\x1f\x8b\x08": ("packed with gzip", "gunzip it"),
    b"(\xb5/\xfd": ("packed with zstd", "unzstd it"),
    b"lmgg": ("a GGML file, the format before GGUF", "take a GGUF of the model"),
    b"fmgg": ("a GGML file, the format before GGUF", "take a GGUF of the model"),
    b"tjgg": ("a GGML file, the format before GGUF", "take a GGUF of the model"),
}


def refuse_foreign_file(path: Path, start: bytes) -> None:
    """HfcError for a file that begins as another kind of file does."""
    if start[8:9] == b"{":  # safetensors: its first eight bytes are a length, and may be anything
        return
    if start.startswith(b"PK") and path.suffix == ".hfp":
        raise HfcError(
            f"{path}: this is a compiled bundle, not a checkpoint", hint=f"hfc explain {path} shows what is in it"
        )
    found = next((row for begin, row in STARTS.items() if start[: len(begin)].lower() == begin.lower()), None)
    if found is not None:
        raise HfcError(f"{path}: this is {found[0]}", hint=found[1])


def holds_tensors(path: Path) -> bool:
    """Whether this is a folder with a file of tensors, not with a config alone."""
    return path.is_dir() and any(p.suffix == ".gguf" or ".safetensors" in p.suffixes for p in path.iterdir())
