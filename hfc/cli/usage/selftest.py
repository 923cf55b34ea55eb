"""What `hfc selftest` takes."""

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.shared import CONTEXT, DEVICE, FORMAT, KV, MODEL, PROFILE, THREADS, TRUST, WEIGHTS, random_weights

USAGE = usage(
    "Compare each kernel with the interpreter, on random inputs. Exit code 1 if one differs. Paste the table into reports.",
    MODEL,
    DEVICE,
    option(
        "--emulate",
        str,
        "Run the machine code of an AMD arch in the ISA emulator instead of on a device.",
        metavar="ARCH",
    ),
    flag("--all", "Every launch, not only the first of each kernel.", name="every"),
    WEIGHTS,
    TRUST,
    random_weights("Draw the weights, as it is done where MODEL has none."),
    FORMAT,
    KV,
    PROFILE,
    CONTEXT,
    THREADS,
)
