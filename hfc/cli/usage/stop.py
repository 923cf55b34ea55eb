"""What `hfc stop` takes."""

from hfc.cli.usage.declare import Argument, option, usage

USAGE = usage(
    "Let a server finish what it runs, and end it.",
    Argument(
        "server", "Its port or its model, as it was named to hfc serve; not needed while only one runs.", required=False
    ),
    option("--timeout", float, "Seconds to wait for requests that run.", 60.0, name="timeout_s"),
)
