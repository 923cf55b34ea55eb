"""What `hfc tune` takes."""

from pathlib import Path

from hfc.cli.usage.declare import Argument, flag, option, usage
from hfc.cli.usage.shared import DEVICE, FORMAT, JSON, PROFILE, WEIGHTS

USAGE = usage(
    "Measure on this card the ways to multiply the matrices of a model when it decodes, and write those that are faster than the default "
    "to a table which later compilations follow. The default is measured beside each and keeps its place unless one gains more than 2 % "
    "with one sequence and loses with no number of them. Bundles made before stay as they are.",
    Argument(
        "model",
        "A folder, a .gguf file, a config.json, or a name of `hfc list --remote`. Its weights are drawn at random.",
    ),
    option(
        "--output -o", Path, "Write this table. [default: HFC_CHOICES, else ~/.config/hfc/choices.csv]", metavar="FILE"
    ),
    option("-r", int, "Repetitions, after one that does not count.", 7, name="repetitions", least=1),
    flag("--dry-run", "Write no table."),
    JSON,
    DEVICE,
    PROFILE,
    FORMAT,
    WEIGHTS,
)
