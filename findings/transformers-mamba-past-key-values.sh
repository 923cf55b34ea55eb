#!/usr/bin/env bash
# What: transformers 5.24.0 on a CPU, one token after eleven with the cache behind them, given as `cache=` and as `past_key_values=`,
#   for a Llama and for a Mamba (Falcon-Mamba is alike).
# Seen: with `cache=` both give the last row of the whole text (1e-7). With `past_key_values=` Llama does too and says that the name is
#   old; Mamba takes the argument without a word, does not read it, and answers as if the token were the first (4.8e-1).
# Why a good guess is wrong: other decoders take the name, as deprecated, until 5.40; the output of both calls has a cache, and `use_cache=True` is set.
#   Mamba's own old name is `cache_params`; any other keyword goes into **kwargs. Text generated token by token by one's own loop is wrong
#   without an error, and only for models without attention.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import importlib.metadata
import warnings
import torch, transformers
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

def told(model, tokens, **caches):
    """How far the last row is from that of the whole text, and what was said."""
    whole = model(tokens).logits[0, -1]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        last = model(tokens[:, -1:], use_cache=True, **caches).logits[0, -1]
    return float((last - whole).norm() / whole.norm()), [str(w.message)[:70] for w in said]

torch.manual_seed(0)
tokens = torch.randint(3, 90, (1, 12))
sizes = dict(vocab_size=96, hidden_size=32, num_hidden_layers=2)
llama = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, intermediate_size=64)).eval()
mamba = MambaForCausalLM(MambaConfig(**sizes, state_size=8)).eval()
print("torch", torch.__version__, "transformers", importlib.metadata.version("transformers"))
found = {}
with torch.no_grad():
    for name, model in (("Llama", llama), ("Mamba", mamba)):
        for keyword in ("cache", "past_key_values"):
            kept = model(tokens[:, :-1], use_cache=True).cache
            found[name, keyword], said = told(model, tokens, **{keyword: kept})
            print(f"{name}, {keyword}=: the last row differs by {found[name, keyword]:.1e}; warnings: {said}")
assert max(found["Llama", "cache"], found["Llama", "past_key_values"], found["Mamba", "cache"]) < 1e-4, "the behaviour has changed"
assert found["Mamba", "past_key_values"] > 0.1, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py" 2>&1 | grep -v "falling back"
