"""`hfc` and `python -m hfc`: Ctrl-C is one line from the first import to the end of the process."""

import gc
import importlib
import signal
import sys

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main() -> None:
    """Run the command line and exit."""
    gc.disable()  # what is imported stays: looking through it for garbage takes a tenth of a start (hfc.cli goes on with it)
    try:
        importlib.import_module("hfc.cli").main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "hfc") or "--debug" in sys.argv:
            raise
        print(
            f"error: the Python package {package} is missing\n  hint: pip install {package}; hfc's own: pip install hfc",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        if "--quiet" not in sys.argv:  # the compiler that `hfc run` has started: who started it says so
            print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # what the interpreter does at its end cannot be interrupted halfway


if __name__ == "__main__":
    main()
