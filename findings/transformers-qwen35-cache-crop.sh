#!/usr/bin/env bash
# What: rolling back a cache of Qwen3_5ForCausalLM, transformers 5.24.0: activate_past_recording(), 15 tokens, crop(-5), then the eleventh
#   token again. float32, CPU. The oracle is a copy of the cache made before the last five tokens.
# Seen: crop succeeds, get_seq_length() says 10, the attention and convolution states are those of ten tokens, and the recurrent state is
#   still that of fifteen: the logits are off by 1e-3 in a tiny random model, far more in a trained one. copy.deepcopy(cache) rolls back.
# Why a good guess is wrong: crop refuses with a clear message until recording is on, so once it succeeds one takes the rollback to be
#   whole. Speculative decoding on this cache then continues from a text that was rejected.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.24.0"
cat > "$work/show.py" <<'PY'
import copy
import torch, transformers
from transformers import DynamicCache
from transformers.models.qwen3_5 import Qwen3_5ForCausalLM, Qwen3_5TextConfig
torch.manual_seed(0)
config = Qwen3_5TextConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
    linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=16, max_position_embeddings=128,
)
model = Qwen3_5ForCausalLM(config).float().eval()
tokens = torch.randint(0, 64, (1, 20))
def step(cache, start, end): return model(tokens[:, start:end], use_cache=True, **{"past_key_values": cache}).logits[0, -1]
def away(logits): return float((logits - wanted).norm() / wanted.norm())
with torch.no_grad():
    wanted = model(tokens[:, :11]).logits[0, -1]
    cache = DynamicCache(config=config)
    cache.activate_past_recording()
    step(cache, 0, 10)
    kept = copy.deepcopy(cache)
    step(cache, 10, 15)
    cache.crop(-5)
    length = cache.get_seq_length()
    cropped, copied = away(step(cache, 10, 11)), away(step(kept, 10, 11))
print("transformers", transformers.__version__)
print(f"after crop(-5): length {length}, the next logits are off by {cropped:.1e}; with a copy of the cache by {copied:.1e}")
assert length == 10 and cropped > 1e-4 and copied < 1e-5, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py" 2> /dev/null
