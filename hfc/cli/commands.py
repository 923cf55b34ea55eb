"""The table of commands: `hfc --help` is printed from it, and imports nothing else."""

from __future__ import annotations

import os
from typing import NamedTuple


class Command(NamedTuple):
    """The command `name`: `hfc.cli.usage.<name>` says what it takes, `hfc.cli.<name>` does it."""

    name: str
    summary: str


# title -> its commands. A command's modules are imported when it is called: `hfc run` of a bundle loads no compiler.
GROUPS: dict[str, tuple[Command, ...]] = {
    "Use a model": (
        Command("run", "Answer a prompt"),
        Command("chat", "Talk with a model at a terminal"),
        Command("serve", "Serve models to OpenAI clients"),
        Command("stop", "End a server"),
        Command("ps", "List the servers that run"),
    ),
    "Get a model": (
        Command("pull", "Fetch a model: a name, or a repository of the hub"),
        Command("list", "List the models on this machine; --remote: those that have a name"),
        Command("show", "Say what is known of a model"),
        Command("rm", "Remove models from this machine"),
        Command("models", "The same as list --remote"),
        Command("inspect", "Print what a checkpoint holds"),
    ),
    "Make a model": (
        Command("compile", "Compile a model into a bundle"),
        Command("quantize", "Convert a model to another weight format"),
        Command("imatrix", "Measure which inputs of the weights matter"),
        Command("new-model", "Begin a model file for a family that hfc does not ship"),
        Command("check-model", "Hold a model file against a checkpoint"),
        Command("fmt", "Lay out model files"),
        Command("lsp", "Help an editor with model files"),
    ),
    "Measure": (
        Command("fit", "Print what a model needs on a card"),
        Command("bench", "Measure tokens a second"),
        Command("tune", "Measure how matrices multiply fastest on this card"),
        Command("predict", "Predict tokens a second on a card that is not here"),
        Command("eval", "Measure quality: perplexity, KL divergence"),
        Command("logits", "Write the logits of given tokens"),
        Command("selftest", "Compare every kernel with the interpreter"),
        Command("matrix", "Compile every model for every architecture and format"),
    ),
    "Look inside": (
        Command("explain", "Show kernels: registers, LDS, source, assembly, reasons"),
        Command("diff", "Say what changed from one bundle to another"),
        Command("opt", "Print a model's graph after passes"),
        Command("devices", "List the cards and which one is taken"),
        Command("config", "Show every setting and where it came from"),
        Command("completion", "Print a completion script for a shell"),
        Command("doctor", "Say what is on this machine, for bug reports"),
    ),
}
COMMANDS = {command.name: command for group in GROUPS.values() for command in group}
# What people know from other programs: the same under another name, or what to do instead.
ALSO = {"ls": "list", "remove": "rm", "version": "--version", "-v": "--version", "-V": "--version"}
INSTEAD = {
    "create": "hfc compile makes a bundle of a model, hfc quantize another weight format; a system message is --system",
    "cp": "a model keeps its name; a name for clients is hfc serve --name",
    "convert": "hfc run takes Hugging Face folders and GGUF files as they are; hfc quantize makes them smaller",
    "generate": 'hfc run MODEL "..."',
    "info": "hfc show NAME, or hfc inspect FILE",
    "login": "hf auth login, or set HF_TOKEN",
    "push": "hf upload ORG/REPO FILE",
    "search": "hfc list --remote shows what has a name; any repository of https://huggingface.co/models can be given as ORG/REPO",
    "signin": "hf auth login, or set HF_TOKEN",
    "update": "pip install --upgrade hfc",
}


def settings_files() -> list[tuple[str, str]]:
    """Where settings may be and how far each is trusted: the user's file, then that of the folder one works in."""
    chosen = os.environ.get("HFC_CONFIG", "")
    if chosen == "off":
        return []
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [(os.path.expanduser(chosen) or os.path.join(home, "hfc", "hfc.toml"), "user"), ("hfc.toml", "project")]


HEAD = """Usage: hfc [OPTIONS] COMMAND [ARGUMENTS]

  Compile language models into fused kernels for AMD GPUs and CPUs, and run them.
"""
TAIL = """Options:
  --model-file FILE.hfm
               Describe the model with this file: for a type that hfc does not ship. HFC_MODELS names a folder of such files.
  --debug      Show the traceback of an error. Works after the command too.
  --version    Print the version and exit.
  -h, --help   Show this text, or that of a command: hfc COMMAND --help
"""


def module_of(command: str) -> str:
    """The name of its modules: new-model is done by hfc.cli.new_model."""
    return command.replace("-", "_")


def overview() -> str:
    """The text of `hfc --help`."""
    width = max(map(len, COMMANDS))
    parts = [HEAD]
    for title, group in GROUPS.items():
        parts.append(f"{title}:\n" + "".join(f"  {c.name:{width}}  {c.summary}\n" for c in group))
    return "\n".join([*parts, TAIL])
