"""Files of the Hugging Face Hub, through the optional package `huggingface_hub`: HF_ENDPOINT, HF_TOKEN, proxies work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hfc.base.diagnostics import HfcError

try:
    import huggingface_hub
except ImportError:
    huggingface_hub = None


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a fixed revision (a commit)."""

    repository: str
    revision: str
    path: str


def download_from_hub(source: HubFile, staging: Path, report: Callable[[str], None]) -> Path:
    """Fetch into `staging`; HfcError when the package is missing or the Hub does not give the file."""
    if huggingface_hub is None:
        raise HfcError(
            "the package huggingface-hub is not installed", hint='install it: python -m pip install "hfc[pull]"'
        )
    report(f"downloading {source.path} of {source.repository} from the Hugging Face Hub")
    try:
        path = huggingface_hub.hf_hub_download(
            source.repository, source.path, revision=source.revision, local_dir=staging
        )
    except OSError as error:  # the library's network and HTTP errors are all of this kind
        raise HfcError(f"{source.repository}: {_first_line(error)}") from error
    return Path(path)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
