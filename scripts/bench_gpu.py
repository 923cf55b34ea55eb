#!/usr/bin/env python3
"""The committed GPU benchmark: `hfc bench` of models, llama.cpp beside it where it is given, one JSON file with all of it.

    scripts/bench_gpu.py 9B.hfp 35B.hfp -o docs/bench/h200.json
    scripts/bench_gpu.py 9B.hfp=9b-q4_k_m.gguf --llama-bench build/bin/llama-bench --llama-batched-bench build/bin/llama-batched-bench

A model is a bundle (its weights are drawn at random unless --checkpoint), a config.json, or a checkpoint; `=FILE` names the GGUF
that llama.cpp measures beside it. Each program runs in a process of its own, one after the other, hfc first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMAT = 1  # of the JSON file


def main() -> int:
    options = parse(sys.argv[1:])
    models = []
    for model in options.models:
        path, _, gguf = model.partition("=")
        print(f"== {path}", flush=True)
        entry = {
            "model": Path(path).name,
            "hfc": bench_hfc(path, options),
            "llama_cpp": bench_llama(gguf, options) if gguf else [],
        }
        show(entry)
        models.append(entry)
    record = {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench_gpu.py", *sys.argv[1:]]),
        "commit": options.commit or output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        "driver": output(["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm", "--format=csv,noheader"]),
        "host": f"{platform.machine()}, Python {platform.python_version()}",
        "models": models,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {options.output}")
    return 0 if all(entry["hfc"] for entry in models) else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL[=GGUF]")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-p", "--prompts", default="128,512,2048")
    parser.add_argument("-n", "--decode", default="128")
    parser.add_argument("-d", "--depths", default="0,16384")
    parser.add_argument("-b", "--batches", default="1,4,8,16", help="measured at depth 0; depths in a batch of 1")
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("--checkpoint", action="store_true", help="use the models' own weights")
    parser.add_argument("--format", help="of the matrices, for a config.json")
    parser.add_argument("--kv", help="of the KV cache, for what is not a bundle")
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--llama-batched-bench", type=Path)
    parser.add_argument("--commit", help="of hfc, where the checkout has no history")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one program")
    return parser.parse_args(arguments)


def bench_hfc(model: str, options: argparse.Namespace) -> list[dict]:
    """Every prompt, every depth alone, every batch from an empty context."""
    fixed = ["--device", options.device, "-r", str(options.repetitions), "--json"]
    fixed += [] if options.checkpoint else ["--random-weights"]
    fixed += [w for name in ("format", "kv") if (value := getattr(options, name)) for w in (f"--{name}", value)]
    runs = [["-p", options.prompts, "-n", options.decode, "-d", options.depths]]
    batches = ",".join(b for b in options.batches.split(",") if b not in ("", "1"))
    runs += [["-p", "", "-n", options.decode, "-b", batches]] if batches else []
    rows = []
    for run in runs:
        text = output([sys.executable, "-m", "hfc", "bench", model, "--trust", *fixed, *run], options.timeout)
        rows += json.loads(text) if text else []
    return rows


def bench_llama(gguf: str, options: argparse.Namespace) -> list[dict]:
    """The same tests by llama.cpp's own programs; rows with the same names."""
    rows = []
    common = ["-m", gguf, "-ngl", "99", "-fa", "1"]
    if options.llama_bench:
        tests = [["-p", options.prompts, "-n", options.decode]]
        deep = ",".join(d for d in options.depths.split(",") if d != "0")
        tests += [["-p", "0", "-n", options.decode, "-d", deep]] if deep else []
        for test in tests:
            text = output(
                [str(options.llama_bench), *common, "-r", str(options.repetitions), "-o", "json", *test],
                options.timeout,
            )
            rows += [llama_row(r) for r in json.loads(text or "[]")]
    if options.llama_batched_bench:
        batches = [b for b in options.batches.split(",") if b]
        context = (128 + int(options.decode.split(",")[0])) * max(map(int, batches))
        sizes = ["-c", str(context), "-npp", "128", "-ntg", options.decode, "-npl", ",".join(batches)]
        text = output([str(options.llama_batched_bench), *common, *sizes, "--output-format", "jsonl"], options.timeout)
        rows += [batched_row(json.loads(line)) for line in text.splitlines() if line.startswith("{")]
    return rows


def llama_row(record: dict) -> dict:
    """One entry of `llama-bench -o json`. Speeds in tokens a second."""
    prompt, made, depth = record["n_prompt"], record["n_gen"], record.get("n_depth", 0)
    name = (f"pp{prompt}" if prompt else f"tg{made}") + f" d{depth}" * (depth > 0)
    samples = record["samples_ts"]
    speeds = {"tok_s": statistics.median(samples), "min": min(samples), "max": max(samples)}
    return {
        "test": name,
        **{k: round(v, 2) for k, v in speeds.items()},
        "build": record.get("build_number"),
        "type": record.get("model_type"),
    }


def batched_row(record: dict) -> dict:
    """One line of `llama-batched-bench --output-format jsonl`: one run, its speed over all sequences."""
    name = f"tg{record['tg']}" + f" b{record['pl']}" * (record["pl"] > 1) + " (batched-bench, behind 128)"
    return {"test": name, **dict.fromkeys(("tok_s", "min", "max"), round(record["speed_tg"], 2))}


def output(command: list[str], timeout: int = 60) -> str:
    """Standard output of a command that worked, else "" with its complaint on standard error."""
    try:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{shlex.join(command)}: {error}", file=sys.stderr)
        return ""
    if done.returncode:
        print(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stderr.strip()[-2000:]}", file=sys.stderr)
        return ""
    return done.stdout.strip()


def show(entry: dict) -> None:
    theirs = {row["test"].removesuffix(" (batched-bench, behind 128)"): row for row in entry["llama_cpp"]}
    print(
        f"{'test':16} {'tok/s':>10} {'of memory':>10} {'host us':>9} {'device us':>10} {'llama.cpp':>10} {'ratio':>6}"
    )
    for row in entry["hfc"]:
        other = theirs.get(row["test"])
        beside = f"{other['tok_s']:10.1f} {row['tok_s'] / other['tok_s']:6.2f}" if other else ""
        share = f"{100 * row['bandwidth_share']:.0f} %"
        print(
            f"{row['test']:16} {row['tok_s']:10.1f} {share:>10} {row['host_us_per_step'] or 0:9.1f} {row['device_us_per_step'] or 0:10.1f} {beside}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
