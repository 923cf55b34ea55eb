#!/usr/bin/env bash
# What: Tokenizer.encode of tokenizers 0.23.3 on a text of 1 MB, beside a thread that only wants to run every millisecond.
# Seen: encode keeps the GIL: the other thread stands still for the whole call. encode_batch_fast([text]) gives the same ids and lets
#   it run.
# Why a good guess is wrong: the work is Rust, the batch methods release the GIL, and asyncio.to_thread(tokenizer.encode, text) is the
#   usual way to keep a server's loop alive. There it changes nothing.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "tokenizers==0.23.3"
cat > "$work/show.py" <<'PY'
import sys, threading, time
import tokenizers
pieces = {chr(i): i for i in range(33, 127)} | {"Ġ": 127}
tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(pieces, []))
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
text = "many words of a long text " * 40_000
def longest_pause(work):
    """The share of a call that the longest pause of another thread takes."""
    gaps, going = [0.0], True
    def ticking():
        last = time.perf_counter()
        while going:
            time.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
    thread = threading.Thread(target=ticking)
    thread.start()
    time.sleep(0.05)
    began = time.perf_counter()
    result = work()
    took = time.perf_counter() - began
    going = False
    thread.join()
    return result, max(gaps) / took, took
one, of_one, seconds_one = longest_pause(lambda: tokenizer.encode(text))
batch, of_batch, seconds_batch = longest_pause(lambda: tokenizer.encode_batch_fast([text])[0])
print("tokenizers", tokenizers.__version__)
print(f"encode: {seconds_one:.2f} s, longest pause of another thread {of_one:.0%} of it")
print(f"encode_batch_fast: {seconds_batch:.2f} s, longest pause {of_batch:.0%} of it")
sys.exit(0 if one.ids == batch.ids and of_one > 0.8 and of_batch < 0.5 else 1)
PY
"$work/venv/bin/python" "$work/show.py"
