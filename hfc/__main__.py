"""`hfc` and `python -m hfc`: Ctrl-C is one line from the first import to the end of the process."""

import gc
import importlib
import signal
import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main() -> None:
    """Run the command line and exit."""
    gc.disable()  # what is imported stays: looking through it for garbage takes a tenth of a start (hfc.cli goes on with it)
    try:
        importlib.import_module("hfc.cli").main()
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
