"""Tokens a cycle on a trained pair, against transformers for the target and the draft's formulas written out in torch."""

import json

import numpy as np
import pytest
from model_reference import SHARED
from speculation_cases import Blocks, tokens_of

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.speculator import Speculation

torch = pytest.importorskip("torch", reason="the reference needs torch")
transformers = pytest.importorskip(
    "transformers", minversion="5.2", reason="the reference needs Qwen 3.5 in transformers"
)
safetensors = pytest.importorskip("safetensors.torch")

TRAINED = SHARED.parent / "models" / "qwen35-tiny-code"
TOKENS, PROMPTS, BLOCK = 200, 16, 16
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not TRAINED.exists(), reason="needs the trained pair of ../shared/models"),
]


class Reference:
    """DFlash as its paper's code has it: keys and values of the context from the target's hidden states, one pass a block."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.w = {k: v.float() for k, v in safetensors.load_file(folder / "model.safetensors").items()}
        self.heads, self.kv_heads, self.head = (
            self.config[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim")
        )
        self.mask = self.config["dflash_config"]["mask_token_id"]
        self.taps = self.config["dflash_config"]["target_layer_ids"]
        self.layers = range(self.config["num_hidden_layers"])

    def norm(self, x, name):
        x = x.float()
        return self.w[name] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])

    def rope(self, x, positions):
        """x [T, heads, head], halves rotated."""
        half = self.head // 2
        frequencies = self.config["rope_parameters"]["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = positions[:, None].double() * frequencies
        cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def keys_values(self, x, i, positions):
        p = f"layers.{i}.self_attn."
        k = self.norm((x @ self.w[p + "k_proj.weight"].T).view(-1, self.kv_heads, self.head), p + "k_norm.weight")
        return self.rope(k, positions), (x @ self.w[p + "v_proj.weight"].T).view(-1, self.kv_heads, self.head)

    def context(self, hidden):
        """hidden: tuple of [T, H], the embedding first. Keys and values of every position for every layer."""
        features = torch.cat([hidden[t + 1] for t in self.taps], -1) @ self.w["fc.weight"].T
        features = self.norm(features, "hidden_norm.weight")
        return [self.keys_values(features, i, torch.arange(len(features))) for i in self.layers]

    def guess(self, context, start, anchor, count, embed, head):
        """`count` tokens behind the anchor, which stands at position `start`."""
        positions = torch.arange(start, start + count + 1)
        x = embed[torch.tensor([anchor, *[self.mask] * count])].float()
        for i in self.layers:
            p = f"layers.{i}."
            h = self.norm(x, p + "input_layernorm.weight")
            q = (h @ self.w[p + "self_attn.q_proj.weight"].T).view(-1, self.heads, self.head)
            q = self.rope(self.norm(q, p + "self_attn.q_norm.weight"), positions)
            own_k, own_v = self.keys_values(h, i, positions)
            k, v = (torch.cat([c[:start], own]) for c, own in zip(context[i], (own_k, own_v)))
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
            weights = (torch.einsum("qhd,khd->hqk", q, k) * self.head**-0.5).softmax(-1)
            x = (
                x
                + torch.einsum("hqk,khd->qhd", weights, v).reshape(count + 1, -1)
                @ self.w[p + "self_attn.o_proj.weight"].T
            )
            h = self.norm(x, p + "post_attention_layernorm.weight")
            gate, up = h @ self.w[p + "mlp.gate_proj.weight"].T, h @ self.w[p + "mlp.up_proj.weight"].T
            x = x + (torch.nn.functional.silu(gate) * up) @ self.w[p + "mlp.down_proj.weight"].T
        return (self.norm(x[1:], "norm.weight") @ head.T).argmax(-1).tolist()


def reference_cycles(draft, target, prompt, answer):
    """Tokens that each cycle brings when plain decoding gives `answer` behind `prompt`; how often transformers agrees with it."""
    text = torch.tensor([[*map(int, prompt), *answer]])
    with torch.no_grad():
        out = target(text, output_hidden_states=True, use_cache=False)
    hidden = [h[0].float() for h in out.hidden_states]
    agreed = (out.logits[0, len(prompt) - 1 : -1].argmax(-1) == text[0, len(prompt) :]).float().mean().item()
    embed, head = target.get_input_embeddings().weight, target.get_output_embeddings().weight.float()
    context, done, cycles = draft.context(hidden), 1, []
    while done < len(answer):
        count = min(BLOCK - 1, len(answer) - done - 1)
        if count == 0:  # plain
            break
        guesses = draft.guess(context, len(prompt) + done - 1, answer[done - 1], count, embed, head)
        right = next((i for i, g in enumerate(guesses) if g != answer[done + i]), count)
        cycles.append(right + 1)
        done += right + 1
    return cycles, agreed


def test_tokens_a_cycle_are_those_of_the_reference():
    with np.load(TRAINED / "oracle.npz") as file:
        prompts = file["tokens"][:PROMPTS, :96]
    model = load(
        compile_model(TRAINED, ["host"], CompileOptions(kv="f32", ctx=512, draft=TRAINED / "draft")), "host", 2
    )
    speculation = Speculation([], BLOCK, Blocks(BLOCK), model.plan.draft)
    target = transformers.AutoModelForCausalLM.from_pretrained(
        TRAINED, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    draft, expected, cycles, accepted, agreement = Reference(TRAINED / "draft"), [], 0, 0, []
    for prompt in prompts:
        found = tokens_of(model, prompt, Sampling(temperature=0), TOKENS, speculation)
        cycles, accepted = cycles + found.cycles, accepted + found.accepted
        with torch.no_grad():
            some, agreed = reference_cycles(draft, target, prompt, found.tokens)
        expected += some
        agreement.append(agreed)
    assert np.mean(agreement) > 0.99, "the text is not the reference's own"
    tau = (accepted + cycles) / cycles
    print(f"tokens a cycle: {tau:.3f}, reference {np.mean(expected):.3f}, over {cycles} and {len(expected)} cycles")
    assert tau == pytest.approx(np.mean(expected), rel=0.02) and tau > 1.5
