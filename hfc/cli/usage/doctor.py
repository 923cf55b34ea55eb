"""What `hfc doctor` takes."""

from hfc.cli.usage.declare import usage

USAGE = usage(
    "Check driver, device files, cards, runtime, compiler and cache; each line is PASS, WARN or FAIL, with the command that "
    "mends it. Exit code 1 if one is FAIL.\n\nBelow it versions, packages, models and environment variables: paste all "
    "of it into a bug report."
)
