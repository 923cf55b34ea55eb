"""The `hfc` command: words to a command's function, and the place where errors become messages."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hfc import __version__
from hfc.base.diagnostics import DeviceLost, HfcError, unknown
from hfc.base.installed import missing_part
from hfc.cli.commands import ALSO, COMMANDS, INSTEAD, module_of, overview, settings_files

VARIABLES = {"HFC_DEVICE", "HFC_THREADS"}  # that set an option
# Kernels do their products; numpy's BLAS would start a thread for each core when it is imported, a tenth of their start.
WITHOUT_BLAS, BLAS_THREADS = frozenset({"run", "chat", "serve"}), "OPENBLAS_NUM_THREADS"
# Python's own allocator keeps a megabyte for each that something long-lived stands in: a server's floods leave many.
WITH_MALLOC, ALLOCATOR = frozenset({"serve"}), "PYTHONMALLOC"
FULL_DISK = {getattr(errno, name, None) for name in ("ENOSPC", "EFBIG", "EDQUOT")} - {None}
FULL_DISK_HINT = (
    "hfc writes to the cache (HFC_CACHE), to the folder for temporary files (TMPDIR) and to where the output goes: "
    "free some space there (`hfc rm --unused`), or set them to another disk; nothing half written is used"
)
USER_ERROR, DEVICE_ERROR, BROKEN_PIPE, INTERRUPTED = 2, 3, 1, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that cannot show a character must not end an answer
            stream.reconfigure(errors="replace")
    words = [*(sys.argv[1:] if arguments is None else arguments)]  # `list` is a command of this package
    is_debug, words = take_debug(words)
    try:
        dispatch(take_model_file(words), is_process=arguments is None)
        sys.stdout.flush()
    except BrokenPipeError:  # `hfc ... | head`
        drop_unwritten()
        sys.exit(BROKEN_PIPE)
    except (HfcError, OSError, MemoryError) as error:
        if is_debug:
            sys.excepthook(*sys.exc_info())
        print(message_of(error), file=sys.stderr)
        drop_unwritten()
        sys.exit(DEVICE_ERROR if isinstance(error, DeviceLost) else USER_ERROR)
    sys.exit(0)


def drop_unwritten() -> None:
    """Output that cannot be written would be tried, and fail, once more when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())


def dispatch(words: list[str], is_process: bool = False) -> None:
    """The command that the words name, with the values that they give. Its modules are imported here and nowhere else.

    is_process: this process is the command's, and it may start it again."""
    name, rest = (words[0], words[1:]) if words else ("help", [])
    if name == "help" and rest:
        name, rest = rest[0], ["--help"]
    name = ALSO.get(name, name)
    if name in ("-h", "--help", "help"):
        print(overview(), end="")
        return
    if name == "--version":
        print(f"hfc {__version__}")
        return
    if name not in COMMANDS:
        raise no_command(name)
    module = module_of(name)
    usage = importlib.import_module(f"hfc.cli.usage.{module}").USAGE
    parsing = importlib.import_module("hfc.cli.usage.parse")
    try:
        values = parsing.parse(name, usage, rest, settings_of(name, rest))
    except parsing.HelpWanted:
        print(importlib.import_module("hfc.cli.usage.help").help_text(name, usage), end="")
        return
    if is_process and name in WITH_MALLOC:
        start_with_malloc()
    with_blas = name not in WITHOUT_BLAS or values.get("device") == "interpret"
    command = importlib.import_module(f"hfc.cli.{module}") if with_blas else without_blas(f"hfc.cli.{module}")
    if not gc.isenabled():  # see hfc.__main__
        gc.freeze()
        gc.enable()
    options = getattr(command, "OPTIONS", None)  # the dataclass of a command with many parameters
    command.command(options(**values)) if options else command.command(**values)


def without_blas(module: str) -> ModuleType:
    """Import a module and numpy with it. What is set for that is of this process alone."""
    if BLAS_THREADS in os.environ:
        return importlib.import_module(module)
    os.environ[BLAS_THREADS] = "1"
    try:
        return importlib.import_module(module)
    finally:
        del os.environ[BLAS_THREADS]


def start_with_malloc() -> None:
    """Start the same process again with the C library's allocator, where that gives memory back in pages (glibc) and nothing else was
    chosen. Nothing that takes time is imported yet."""
    if ALLOCATOR in os.environ or "t" in getattr(sys, "abiflags", "") or not sys.executable or not has_glibc():
        return  # a free-threaded Python has an allocator of its own
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, ALLOCATOR: "malloc"})


def has_glibc() -> bool:
    """Other C libraries have no such name, or nothing by it."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False


def no_command(name: str) -> HfcError:
    """What to type instead of a word that is no command."""
    if name.startswith("-"):
        hint = "a command comes first: hfc run MODEL; before it: --help, --version, --debug, --model-file FILE"
        return HfcError(f"unknown option {name!r}", hint=hint)
    if name in INSTEAD:
        return HfcError(f"hfc has no command {name!r}", hint=INSTEAD[name])
    if is_model(name):
        return HfcError(f"unknown command {name!r}", hint=f"for a model: hfc run {name}")
    return unknown("command", name, COMMANDS)


def is_model(word: str) -> bool:
    """Whether a word in a command's place looks like a model: a path, or a name with a size."""
    return any(c in word for c in ":/\\") or word.endswith((".gguf", ".hfp", ".safetensors")) or os.path.exists(word)


def settings_of(name: str, words: list[str]) -> dict[str, Any]:
    """Parameter -> what files and the environment set for a command. Nothing is imported where there is nothing to read."""
    has_files = any(os.path.isfile(path) for path, _ in settings_files())
    if name in ("config", "completion") or not (has_files or VARIABLES & os.environ.keys()):
        return {}
    settings = importlib.import_module("hfc.cli.settings")
    os.environ.update({variable: found.value for variable, found in settings.variables().items()})
    return {parameter: found.value for parameter, found in settings.settings_of(name, words).items()}


def message_of(error: HfcError | OSError | MemoryError) -> str:
    if isinstance(error, OSError):
        missing = missing_part(error)
        if missing:
            return str(missing)
        said = f"error: {error.filename or 'input or output'}: {error.strerror or error}"
        return f"{said}\n  hint: {FULL_DISK_HINT}" if error.errno in FULL_DISK else said
    if isinstance(error, MemoryError):
        return "error: out of memory\n  hint: use a smaller --ctx or a smaller model"
    return str(error)


def take_model_file(words: list[str]) -> list[str]:
    """The words without --model-file FILE, which may stand anywhere before a `--`: a knob for this command and its children."""
    end = words.index("--") if "--" in words else len(words)
    for at, word in enumerate(words[:end]):
        if word != "--model-file" and not word.startswith("--model-file="):
            continue
        inline = word.startswith("--model-file=")
        if not inline and at + 1 >= end:
            raise HfcError("--model-file: a value is missing", hint="--model-file FILE.hfm")
        path = Path(word.partition("=")[2] if inline else words[at + 1])
        if path.suffix != ".hfm" or not path.is_file():
            raise HfcError(f"--model-file {path}: there is no such .hfm file", hint="docs/add-a-model.md writes one")
        os.environ["HFC_MODEL_FILE"] = str(path.resolve())
        return words[:at] + words[at + (1 if inline else 2) :]
    return words


def take_debug(words: list[str]) -> tuple[bool, list[str]]:
    """Whether --debug stands anywhere before a `--`, and the words without it."""
    end = words.index("--") if "--" in words else len(words)
    return "--debug" in words[:end], [w for i, w in enumerate(words) if w != "--debug" or i > end]
