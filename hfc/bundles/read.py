"""A bundle file to a Bundle: only stored members, each once and of its declared size, a manifest of the declared types, hashes
that hold, plans whose numbers go together."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.bundles.check import check_plan
from hfc.bundles.code import check_code
from hfc.bundles.experts import check_experts
from hfc.bundles.ranks import check_ranks
from hfc.bundles.stages import check_stages
from hfc.plan import BUNDLE_VERSION, MANIFEST, Bundle, Plan

MOST_BYTES = 2 << 30  # of a bundle
MOST_MANIFEST = 256 << 20
MOST_FILES = 1 << 16
NAME = re.compile(r"[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*")  # relative, and no part of it begins with a dot
AGAIN = "compile it again"
NEWER = "a newer hfc made it: install that one, or compile it again with this one"


@dataclass(frozen=True)
class Manifest:
    """manifest.json."""

    version: int
    model: dict[str, Any]
    plans: dict[str, Plan]
    files: dict[str, str]


@dataclass(frozen=True)
class _Version:
    version: int | None = None


@dataclass(frozen=True)
class _Facts:
    """What every bundle says of its model."""

    name: str
    weights: str
    kind: str = "hf"
    context: int = 0
    draft: _Draft | None = None


@dataclass(frozen=True)
class _Draft:
    name: str
    kind: str
    weights: str


def load_bundle(path: str | Path, trusted: bool = False) -> Bundle:
    """Read and check a bundle file. Raises HfcError. trusted: its code may run wherever it was made."""
    path = Path(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise HfcError(f"{path}: not a file", hint="a bundle is a file that hfc compile wrote")
        if found.st_size > MOST_BYTES:
            raise HfcError(f"{path}: {found.st_size} bytes are too many for a bundle; at most {MOST_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise HfcError(f"{path}: cannot read the bundle: {error.strerror}") from error
    return replace(read_bundle(data, str(path)), trusted=trusted)


def read_bundle(data: bytes, name: str) -> Bundle:
    """The bundle, checked. `name` is for messages."""
    try:
        members = _members(data, name)
    except (
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
        struct.error,
    ) as error:
        raise HfcError(f"{name}: not a bundle, or a damaged one ({error})", hint=AGAIN) from error
    if MANIFEST not in members:
        raise HfcError(f"{name}: not a bundle, or a damaged one (there is no {MANIFEST})", hint=AGAIN)
    manifest = _manifest(members.pop(MANIFEST), name)
    if members.keys() != manifest.files.keys():
        odd = sorted(members.keys() ^ manifest.files.keys())[0]
        raise HfcError(f"{name}: {odd} is only in one of manifest and file: the bundle is damaged", hint=AGAIN)
    for file, content in members.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != manifest.files[file]:
            raise HfcError(
                f"{name}: {file} has hash {digest[:12]}, the manifest says {manifest.files[file][:12]!r}", hint=AGAIN
            )
    for key, plan in manifest.plans.items():
        where = f"{name}: plan for {key}"
        if plan.arch != key.partition(":")[0]:
            raise HfcError(f"{where} says that it is for {plan.arch[:40]!r}: the bundle is damaged", hint=AGAIN)
        check_plan(plan, where, members)
        check_code(plan, members, where)
        if plan.name != key:
            raise HfcError(f"{where} says that it is for {plan.name[:40]!r}: the bundle is damaged", hint=AGAIN)
    check_stages(list(manifest.plans.values()), name)
    check_ranks(list(manifest.plans.values()), name)
    check_experts(manifest.plans, name)
    return Bundle(manifest.model, manifest.plans, members)


def _members(data: bytes, name: str) -> dict[str, bytes]:
    """Name -> content. Nothing is inflated: a member lies in the file as it is, so all together are no larger than it."""
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if len(infos) > MOST_FILES:
            raise HfcError(f"{name}: {len(infos)} files; a bundle has at most {MOST_FILES}")
        left = len(data)
        for info in infos:
            left -= info.file_size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or left < 0:
                raise HfcError(
                    f"{name}: {info.filename[:80]!r} is packed; files of a bundle are stored as they are", hint=AGAIN
                )
            if not NAME.fullmatch(info.filename) or info.filename in found:
                raise HfcError(
                    f"{name}: {info.filename[:80]!r} is no name of a bundle's file, or there twice", hint=AGAIN
                )
            if info.filename == MANIFEST and info.file_size > MOST_MANIFEST:
                raise HfcError(f"{name}: a manifest of {info.file_size} bytes; at most {MOST_MANIFEST}", hint=AGAIN)
            found[info.filename] = archive.read(info)
    return found


def _manifest(data: bytes, name: str) -> Manifest:
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != BUNDLE_VERSION:
            hint = NEWER if (version or 0) > BUNDLE_VERSION else AGAIN
            raise HfcError(f"{name}: bundle version {version}, this hfc reads {BUNDLE_VERSION}", hint=hint)
        manifest = msgspec.json.decode(data, type=Manifest)
        msgspec.convert(manifest.model, _Facts)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise HfcError(f"{name}: {MANIFEST}: {error}", hint=f"not a bundle, or a damaged one; {AGAIN}") from error
    if not manifest.plans:
        raise HfcError(f"{name}: {MANIFEST}: no plan", hint=AGAIN)
    return manifest
