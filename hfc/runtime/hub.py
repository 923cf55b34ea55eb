"""Files of the Hugging Face Hub, through `huggingface_hub`: its cache, resume, HF_ENDPOINT, HF_TOKEN and proxies; hashes are checked here."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors, file_download

from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.runtime.library import FetchedModel, find_record, records, save
from hfc.runtime.reference import HubFile, Reference, select
from hfc.runtime.registry import names_here

if "HF_HUB_VERBOSITY" not in os.environ:  # what it says of each try is said once, in our own message
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

Report = Callable[[str], None]
Update = Callable[[int, int], None]  # bytes done, bytes in all


def download_from_hub(source: HubFile, staging: Path, report: Report) -> Path:
    """Fetch into `staging`; HfcError when the Hub does not give the file."""
    report(f"downloading {source.path} of {source.repository} from the Hugging Face Hub")
    try:
        path = huggingface_hub.hf_hub_download(
            source.repository, source.path, revision=source.revision, local_dir=staging
        )
    except (OSError, errors.HTTPError) as error:
        raise explained(Reference(source.repository, source.revision), error) from error
    return Path(path)


def fetch(
    reference: Reference, report: Report = lambda line: None, update: Update = lambda done, total: None
) -> FetchedModel:
    """Every file of a model, whole and with the right hash, and the record of it. What was fetched before is not fetched again.

    Without a network what is here counts."""
    try:
        info = huggingface_hub.HfApi().model_info(
            reference.repository, revision=reference.revision, files_metadata=True
        )
    except (OSError, errors.HTTPError, errors.HFValidationError) as error:
        known = find_record(reference)
        if known is not None and not isinstance(error, errors.HfHubHTTPError):
            return known
        raise explained(reference, error) from error
    remote = {file.rfilename: file for file in info.siblings or ()}
    chosen = select(reference, remote)
    if chosen.format is not None:
        weight_format(chosen.format)
    sizes = {name: remote[name].size or 0 for name in chosen.files}
    total, done = sum(sizes.values()), 0
    _check_room(reference, total - _already_here(reference, sizes))
    report(f"fetching {total / 1e9:.2f} GB: {len(chosen.files)} files of {reference.repository}")
    files = []
    known = {path: (size, at, digest) for r in records() for path, size, at, digest in r.files}
    for name in chosen.files:
        meter = _meter(lambda n, done=done: update(done + n, total))
        path, is_checked = _download(reference, remote[name], info.sha, meter)
        files.append(_checked(reference, path, remote[name], known, is_checked))
        done += sizes[name]
        update(done, total)
    first = files[0][0] if chosen.kind == "gguf" else str(Path(files[0][0]).parent)
    record = FetchedModel(
        str(reference), reference.repository, info.sha, chosen.kind, first, tuple(files), chosen.format
    )
    save(record)
    return record


def _download(reference: Reference, remote: Any, revision: str, meter: Any) -> tuple[Path, bool]:
    """The file's name in the hub's cache, and whether its bytes were checked just now."""
    name = remote.rfilename
    try:
        is_new = remote.lfs is not None and _complete_blob(reference, remote, revision, meter)
        return Path(
            huggingface_hub.hf_hub_download(reference.repository, name, revision=revision, tqdm_class=meter)
        ), is_new
    except (OSError, errors.HTTPError) as error:
        raise explained(reference, error, name) from error


def _complete_blob(reference: Reference, remote: Any, revision: str, meter: Any) -> bool:
    """Bring a large file into the hub's cache, from where an earlier run ended: huggingface_hub itself (2.4) goes on only as long as its
    process lives. False if the cache has it already."""
    blob = _blobs(reference) / remote.lfs.sha256
    partial = blob.with_name(blob.name + ".hfc.incomplete")
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(huggingface_hub.constants.HF_HUB_CACHE) / ".locks" / blob.parents[1].name / f"{blob.name}.hfc.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with huggingface_hub.utils.WeakFileLock(lock):  # two pulls at once: the second finds it whole
        if blob.is_file():
            return False
        with partial.open("ab") as file:
            here = file.tell()
            if here < remote.lfs.size:
                url = huggingface_hub.hf_hub_url(reference.repository, remote.rfilename, revision=revision)
                headers = huggingface_hub.utils.build_hf_headers()
                file_download.http_get(
                    url, file, resume_size=here, headers=headers, expected_size=remote.lfs.size, tqdm_class=meter
                )
        found = _digest(partial, hashlib.sha256())
        if found != remote.lfs.sha256:
            partial.unlink()
            raise _wrong_bytes(reference, remote.rfilename, found, remote.lfs.sha256)
        os.replace(partial, blob)
    return True


def _checked(reference: Reference, path: Path, remote: Any, known: dict, is_checked: bool) -> tuple[str, int, int, str]:
    """The file's row of a record. A hash that was right for these very bytes before is not taken again."""
    stat = path.stat()
    expected = remote.lfs.sha256 if remote.lfs else remote.blob_id
    if is_checked or known.get(str(path)) == (stat.st_size, stat.st_mtime_ns, expected):
        return str(path), stat.st_size, stat.st_mtime_ns, expected
    found = _digest(path, hashlib.sha256() if remote.lfs else hashlib.sha1(b"blob %d\0" % stat.st_size))
    if expected is not None and found != expected:
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        raise _wrong_bytes(reference, remote.rfilename, found, expected)
    return str(path), stat.st_size, stat.st_mtime_ns, found


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _wrong_bytes(reference: Reference, name: str, found: str, expected: str) -> HfcError:
    return HfcError(
        f"{reference.repository}: {name} came with the hash {found[:16]}, the hub says {expected[:16]}",
        hint="the wrong bytes are removed: run the same command again; a proxy or a mirror may have changed the file",
    )


def _meter(update: Callable[[int], None]) -> type:
    """A progress bar that shows nothing and tells how many bytes of its file are here."""

    class Meter(huggingface_hub.utils.tqdm):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **{**options, "disable": True})
            self.bytes_here = options.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self.bytes_here += n or 0
            update(int(self.bytes_here))

    return Meter


def _already_here(reference: Reference, sizes: dict[str, int]) -> int:
    """Bytes of the files that the hub's cache holds, unfinished ones included."""
    blobs = (
        Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{reference.repository.replace('/', '--')}" / "blobs"
    )
    return sum(p.stat().st_size for p in blobs.iterdir() if p.is_file()) if blobs.is_dir() else 0


def _blobs(reference: Reference) -> Path:
    """Where the hub's cache keeps the contents of a repository's files."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{reference.repository.replace('/', '--')}" / "blobs"


def _check_room(reference: Reference, nbytes: int) -> None:
    """Refuse before the first byte what cannot fit on the disk."""
    place = Path(huggingface_hub.constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if nbytes > free:
        raise HfcError(
            f"{reference} needs {nbytes / 1e9:.2f} GB more, and {place} has {free / 1e9:.2f} GB free",
            hint="free some space (`hfc rm NAME`, `hfc rm --unused`), or set HF_HOME to another disk",
        )


def explained(reference: Reference, error: Exception, name: str = "") -> HfcError:
    """What went wrong at the hub, and what to do."""
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the library looked for a local copy behind what went wrong
    what = f"{reference.repository}{f'/{name}' if name else ''}"
    endpoint = huggingface_hub.constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        hint = f"accept its licence at {endpoint}/{reference.repository}, then `hf auth login` or set HF_TOKEN"
        return HfcError(f"{what} is given only to those who accepted its licence", hint=hint)
    if isinstance(error, errors.RevisionNotFoundError):
        return HfcError(f"{reference.repository} has no revision {reference.revision}")
    if isinstance(error, errors.RemoteEntryNotFoundError) or (name and status == 404):
        return HfcError(f"{what}: the hub does not have this file (404)")
    if isinstance(error, errors.RepositoryNotFoundError) or (status in (401, 403, 404) and not name):
        hint = "check the name; for a private one `hf auth login` or set HF_TOKEN; a file on this machine is given by its path"
        return HfcError(f"{what}: no such repository at {endpoint}, or not for this user ({status or 401})", hint=hint)
    if status == 429:
        wait = error.response.headers.get("retry-after")
        hint = (
            "wait"
            + (f" {wait} s" if wait else "")
            + " and run the same command again; with HF_TOKEN the hub allows more"
        )
        return HfcError(f"{what}: {endpoint} answers to too many requests (429)", hint=hint)
    if status is not None:
        return HfcError(f"{what}: {endpoint} answers {status}: {_first_line(error)}", hint="try again later")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        hint = "what came so far is kept: free some space (`hfc rm --unused`) and run the same command again, it goes on from there"
        where = error.filename or huggingface_hub.constants.HF_HUB_CACHE
        return HfcError(f"{what}: {where}: {os.strerror(error.errno)}", hint=hint)
    if isinstance(error, errors.HFValidationError):
        return HfcError(f"{what} is not a name that a repository can have: {_first_line(error)}")
    reason = "offline mode is on (HF_HUB_OFFLINE)" if huggingface_hub.constants.HF_HUB_OFFLINE else _first_line(error)
    here = ", ".join(names_here()) or "none yet; a file or folder is given by its path"
    return HfcError(f"{what}: cannot reach {endpoint}: {reason}", hint=f"models on this machine: {here}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
