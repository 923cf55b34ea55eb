#!/usr/bin/env python3
"""A prefill step and a decode step of a bundle on the first NVIDIA GPU, in two slots: what scripts/sanitize_gpu.sh watches.

scripts/two_steps.py BUNDLE[=CHECKPOINT]
"""

import sys

import numpy as np

from hfc.bundles import load_bundle
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampler, Sampling
from hfc.step import Segment, Step

bundle, _, checkpoint = sys.argv[1].partition("=")
model = load(load_bundle(bundle, trusted=True), "cuda", weights=checkpoint or None)
slots, rows = min(2, model.slots), min(37, model.max_rows, model.context - 1)
half = rows // slots
ids = np.random.default_rng(0).integers(0, model.vocab, rows).astype(np.int32)
segments = tuple(Segment(slot, slot * half, half, 0) for slot in range(slots))
last = np.array([(slot + 1) * half - 1 for slot in range(slots)], np.int32)
logits = model.forward(Step(ids[: slots * half], segments, last))
decode = Step(
    ids[:slots], tuple(Segment(slot, slot, 1, half) for slot in range(slots)), np.arange(slots, dtype=np.int32)
)
tokens = model.next_tokens(decode, [Sampler(Sampling(temperature=0)) for _ in range(slots)])
model.close()
print(f"{sys.argv[1]}: logits {logits.shape}, finite {np.isfinite(logits).all()}, then tokens {tokens}")
sys.exit(0 if np.isfinite(logits).all() else 1)
