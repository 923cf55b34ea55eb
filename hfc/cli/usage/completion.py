"""What `hfc completion` takes."""

from hfc.cli.usage.declare import Argument, usage

USAGE = usage(
    'Print a completion script: add `eval "$(hfc completion bash)"` to ~/.bashrc, the same with zsh to ~/.zshrc, or '
    "`hfc completion fish | source` to ~/.config/fish/config.fish.",
    Argument("shell", "bash, zsh or fish; the scripts call `words`."),
    Argument("words", "For `words`: the words after hfc, the last one unfinished.", required=False, many=True),
)
