#!/usr/bin/env bash
# What: NemotronHForCausalLM of transformers 5.24.0 on a prompt, whole and one token at a time with its cache, in float32 on a CPU.
# Seen: the logits differ by far more than rounding: a prompt clamps the step size of Mamba-2 at config.time_step_min, a single token
#   does not. With time_step_min near 0 both ways agree to 1e-6.
# Why a good guess is wrong: time_step_min reads as a range that steps are drawn from when weights are made, config.time_step_limit (0 to
#   infinity) as the clamp; and a model's cached decoding is taken to equal its prompt. References for another engine come out two ways.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.24.0"
cat > "$work/show.py" <<'PY'
import torch, transformers
from transformers import NemotronHConfig, NemotronHForCausalLM
def difference(smallest_step):
    """Relative L2 of logits, token by token against the whole prompt."""
    torch.manual_seed(1)
    config = NemotronHConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        layers_block_type=["mamba", "attention", "mamba", "mlp"], mamba_num_heads=4, mamba_head_dim=16, ssm_state_size=16, n_groups=2,
        time_step_min=smallest_step, max_position_embeddings=128,
    )
    model = NemotronHForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("dt_bias"):
                parameter.fill_(-4.0)  # steps of about 0.02
            elif parameter.dim() == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        tokens = torch.randint(0, 64, (1, 24))
        whole = model(tokens).logits[0]
        cache, rows = None, []
        for at in range(tokens.shape[1]):
            step = model(tokens[:, at : at + 1], past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            rows.append(step.logits[0, -1])
    return float((torch.stack(rows) - whole).norm() / whole.norm())
clamped, free = difference(0.1), difference(1e-30)
print("transformers", transformers.__version__)
print(f"time_step_min 0.1: token by token differs from the whole prompt by {clamped:.1e}")
print(f"time_step_min 1e-30: by {free:.1e}")
assert clamped > 100 * free and free < 1e-5, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"
