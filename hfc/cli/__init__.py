"""The `hfc` command: a table of commands, imported when they are called, and the place where errors become messages."""

from __future__ import annotations

import importlib
import io
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperGroup

from hfc import __version__
from hfc.base.diagnostics import DeviceLost, HfcError, unknown

# A command's module may import any layer. Only the module of the command that runs is imported, so that `hfc run` of a
# bundle loads no compiler and starts at once.
COMMANDS = (
    "run",
    "serve",
    "stop",
    "ps",
    "compile",
    "bench",
    "selftest",
    "eval",
    "quantize",
    "imatrix",
    "inspect",
    "logits",
    "fit",
    "explain",
    "matrix",
    "opt",
    "pull",
    "models",
    "doctor",
)

EXTRAS = {"serve": "serve"}  # command -> the extra that its packages come with

USER_ERROR, DEVICE_ERROR, INTERRUPTED = 2, 3, 130


class Commands(TyperGroup):
    """The command group over the modules `hfc.cli.<name>`, each with a function `command`."""

    def list_commands(self, ctx) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx, name: str):
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
        app.command(name)(_module_of(name).command)
        return typer.main.get_command(app)

    def invoke(self, ctx):
        """Every error that a user can act on ends here: one message, exit code 2, or 3 for a lost device."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # `hfc ... | head`: the library ends the program quietly
        except (HfcError, OSError, MemoryError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            print(message_of(error), file=sys.stderr)
            sys.exit(DEVICE_ERROR if isinstance(error, DeviceLost) else USER_ERROR)


def _module_of(name: str):
    """A command's module; a package of an extra that is not installed is an error that says how to get it."""
    try:
        return importlib.import_module(f"hfc.cli.{name}")
    except ModuleNotFoundError as error:
        if name not in EXTRAS or str(error.name).startswith("hfc"):
            raise
        raise HfcError(
            f"hfc {name} needs the Python package {error.name}", hint=f"pip install 'hfc[{EXTRAS[name]}]'"
        ) from error


def message_of(error: HfcError | OSError | MemoryError) -> str:
    if isinstance(error, OSError):
        return f"error: {error.filename or 'input or output'}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "error: out of memory\n  hint: use a smaller --ctx or a smaller model"
    return str(error)


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def print_version(wanted: bool) -> None:
    if wanted:
        print(f"hfc {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Works after the command too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compile language models into fused kernels for AMD GPUs and CPUs, and run them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that cannot show a character must not end an answer
            stream.reconfigure(errors="replace")
    app(args=debug_first(list(sys.argv[1:] if arguments is None else arguments)), prog_name="hfc")


def debug_first(arguments: list[str]) -> list[str]:
    """Move a `--debug` that stands after the command to the front, where the group reads it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" not in arguments[:end]:
        return arguments
    return ["--debug", *(a for i, a in enumerate(arguments) if a != "--debug" or i > end)]
