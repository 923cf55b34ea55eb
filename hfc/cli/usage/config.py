"""What `hfc config` takes."""

from hfc.cli.usage.declare import Argument, usage

USAGE = usage(
    "Show settings and where each came from: default, ~/.config/hfc/hfc.toml, ./hfc.toml, or an environment variable. Flags win "
    "over all of them.\n\n"
    'A file holds options by their long names (device = "hip:1"), for one command under its name ([serve]), and in the user\'s own '
    'file environment variables of the table (cache = "/data" is HFC_CACHE). `hfc config path` prints where the files lie.',
    Argument("action", "show or path. [default: show]", required=False),
    Argument("of", "Only the settings of this command.", metavar="COMMAND", required=False),
)
