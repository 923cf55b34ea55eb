"""What `hfc matrix` takes."""

from pathlib import Path

from hfc.cli.usage.declare import flag, option, usage

USAGE = usage(
    "Compile model x architecture x weight format x KV format. Exit code 1 if a cell failed. Needs no GPU.",
    option("--arch", str, "GPU architectures, with commas between, or all.", "all"),
    option("--model", str, "Models, with commas between, or all. [default: one for each model file]"),
    option("--weights", str, "Weight formats, with commas between. [default: all]"),
    option("--kv", str, "KV formats, with commas between. [default: all]"),
    flag("--quick", "Few layers, and a selection in which every model, architecture and format comes up."),
    flag(
        "--in-turn",
        "Every weight format once on every architecture, models and KV formats in turn; with --quick of few layers.",
    ),
    flag("--json", "Every cell as JSON."),
    flag("--md", "A page of Markdown."),
    flag("--html", "A page of HTML."),
    option("--output -o", Path, "Write there instead of printing.", metavar="FILE"),
    option(
        "--results",
        Path,
        "Folder of recorded emulator and card results.",
        Path("docs/matrix-results"),
        metavar="FOLDER",
    ),
)
