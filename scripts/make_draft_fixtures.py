"""Writes tests/data/drafts: tiny random drafts for tests/data/models/qwen3_5_text, with references computed in float32.

usage: python scripts/make_draft_fixtures.py [OUT]      needs torch, transformers, gguf and dflash 0.1.0 (MIT); the tests need none of them

dflash, dflash2: config.json and model.safetensors in the published layout. reference.npz: three drafts, each behind more of the
text: block, context range, hidden states, logits, tokens (and candidates) of dflash's own torch model.
dflash2.gguf: the same weights under the names and keys of llama.cpp's converter.
mtp: mtp.safetensors, tensors to add to the target's; reference.npz: teacher-forced logits and a chain of four tokens.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from dflash import model as dflash
from safetensors.torch import load_file, save_file
from transformers import Qwen3_5ForCausalLM, Qwen3Config
from transformers.modeling_layers import MtpLayer
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests/data/models/qwen3_5_text"
BLOCK, MASK, LAYERS = 6, 127, 2
COMMON = dict(
    vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
    head_dim=32, hidden_act="silu", max_position_embeddings=256, rms_norm_eps=1e-6, attention_bias=False, tie_word_embeddings=False,
    rope_parameters={"rope_type": "default", "rope_theta": 1e5}, num_target_layers=3, bos_token_id=None, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
DRAFTS = {
    "dflash": dict(
        COMMON, architectures=["DFlashDraftModel"], block_size=BLOCK, layer_types=["full_attention", "sliding_attention"],
        use_sliding_window=True, sliding_window=7, max_window_layers=1, dflash_config={"mask_token_id": MASK, "target_layer_ids": [0, 1]},
    ),
    "dflash2": dict(
        COMMON, architectures=["DFlash2DraftModel"], layer_types=["sliding_attention"] * LAYERS, use_sliding_window=True,
        sliding_window=9, max_window_layers=LAYERS, is_causal=False,
        dflash_config={
            "block_size": BLOCK, "mask_token_id": MASK, "target_layer_ids": [1], "conv_group_size": 16, "conv_kernel_size": 2,
            "selector_rank": 16, "selector_top_k": 4,
        },
    ),
}  # fmt: skip


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    normal = torch.randn(*shape, generator=generator)
    if "norm" in name:
        return 1 + (0.4 if name.endswith(("q_norm.weight", "k_norm.weight")) else 0.0) + 0.25 * normal
    if "base_kernel" in name:
        normal[:, 0] += 3
        return 0.3 * normal
    if "codebook" in name:
        return 0.5 * normal
    return normal * ((0.3 if "kernel_projection" in name else 1.0) / shape[-1] ** 0.5)


def fill(model: torch.nn.Module, seed: int, shift: float = 0.0) -> None:
    """shift: added to norms; -1 where 0 stands for one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        drawn = draw(name, tuple(parameter.shape), generator)
        parameter.copy_((drawn + shift if "norm" in name else drawn).to(torch.bfloat16).float())


def make_dflash(name: str, arguments: dict, target: Qwen3_5ForCausalLM, text: torch.Tensor, out: Path) -> None:
    config = Qwen3Config(**arguments)
    draft = (dflash.DFlash2DraftModel if name == "dflash2" else dflash.DFlashDraftModel)(config).float().eval()
    fill(draft, 11)
    states = target(input_ids=text[None], output_hidden_states=True).hidden_states
    features = dflash.extract_context_feature(states, draft.target_layer_ids)
    embedding, cache, reference = target.get_input_embeddings().weight, dflash._make_cache(config), {}
    for number, (first, last) in enumerate(((0, 20), (20, 23), (23, 24))):
        block = torch.full((1, BLOCK), MASK)
        block[0, 0] = text[last]
        hidden = draft(
            target_hidden=features[:, first:last], noise_embedding=torch.nn.functional.embedding(block, embedding),
            position_ids=torch.arange(first, last + BLOCK)[None], past_key_values=cache, use_cache=True,
        )  # fmt: skip
        dflash._crop_to(cache, last)
        logits = draft.compute_logits(hidden[:, 1:], target.lm_head)
        found = {"block": block[0], "context": torch.tensor([first, last]), "hidden": hidden[0], "logits": logits[0]}
        if name == "dflash2":
            tokens, candidates, _ = draft.propose(hidden[:, 1:], block[:, 0], target.lm_head, 0.0)
            found |= {"tokens": tokens[0], "candidates": candidates[0]}
        else:
            found["tokens"] = logits[0].argmax(-1)
        reference |= {f"{number}.{key}": _numpy(value) for key, value in found.items()}
    tensors = {key: value.to(torch.bfloat16).contiguous() for key, value in draft.state_dict().items()}
    for key in [key for key in tensors if key.endswith("codebook.weight")]:
        tensors[key.removesuffix(".weight")] = tensors.pop(key)  # as published
    _save(out / name, tensors, "model.safetensors", reference)
    (out / name / "config.json").write_text(
        json.dumps({**arguments, "model_type": "qwen3", "dtype": "bfloat16"}, indent=1)
    )


GGUF_NAMES = {
    "hidden_norm": "enc.output_norm", "norm": "output_norm", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "attention_conv.kernel_projection": "attn_conv_proj", "mlp_conv.kernel_projection": "ffn_conv_proj",
    "attention_conv.base_kernel": "attn_conv_base", "mlp_conv.base_kernel": "ffn_conv_base", "fc": "fc",
    "candidate_selector.predecessor_codebook": "selector_predecessor.weight", "candidate_selector.hidden_projection": "selector_hidden",
    "candidate_selector.successor_codebook": "selector_successor.weight",
}  # fmt: skip


def write_gguf(folder: Path, arguments: dict) -> None:
    """As `convert_hf_to_gguf.py --target-model-dir` of llama.cpp b11434 does it: layers are counted by what they read."""
    writer, own = gguf.GGUFWriter(folder / "model.gguf", "dflash"), arguments["dflash_config"]
    keys = {
        "block_count": LAYERS, "context_length": 256, "embedding_length": 64, "feed_forward_length": 96, "attention.head_count": 4,
        "attention.head_count_kv": 2, "attention.key_length": 32, "attention.value_length": 32, "block_size": BLOCK,
        "attention.sliding_window": arguments["sliding_window"], "conv_kernel_size": own["conv_kernel_size"],
        "conv_group_size": own["conv_group_size"], "selector_rank": own["selector_rank"], "selector_top_k": own["selector_top_k"],
    }  # fmt: skip
    for key, value in keys.items():
        writer.add_uint32(f"dflash.{key}", value)
    writer.add_float32("dflash.rope.freq_base", 1e5)
    writer.add_float32("dflash.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_bool("dflash.attention.causal", arguments["is_causal"])
    writer.add_array("dflash.target_layers", [layer + 1 for layer in own["target_layer_ids"]])
    writer.add_array("dflash.attention.sliding_window_pattern", [True] * LAYERS)
    writer.add_array("dflash.rope.dimension_sections", [16, 0, 0, 0])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{n}" for n in range(128)])
    writer.add_mask_token_id(MASK)
    for name, tensor in load_file(folder / "model.safetensors").items():
        ending = ".weight" * name.endswith(".weight")
        layer, stem = re.fullmatch(r"(?:layers\.(\d+)\.)?(.*)", name.removesuffix(".weight")).groups()
        place = (f"blk.{layer}." if layer else "") + GGUF_NAMES[stem] + ending
        if tensor.ndim == 1 or "base_kernel" in name:
            writer.add_tensor(place, tensor.float().numpy())
        else:
            writer.add_tensor(
                place, tensor.contiguous().view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_mtp(target: Qwen3_5ForCausalLM, text: torch.Tensor, out: Path) -> None:
    config = target.config.__class__(
        **{**target.config.to_dict(), "layer_types": ["full_attention"], "num_hidden_layers": 1}
    )
    config._attn_implementation = "eager"
    head = MtpLayer(config, qwen.Qwen3_5DecoderLayer, qwen.Qwen3_5RMSNorm, 0).float().eval()
    fill(head, 12, -1.0)
    prompt = text[:24]
    hidden = target.model(input_ids=prompt[None]).last_hidden_state
    tokens = text[None, 1:25]

    def run(tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(1, 1 + tokens.shape[1])[None]
        angles = target.model.rotary_emb(hidden, positions[None].expand(3, -1, -1))
        mask = torch.full((tokens.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        embedded = target.model.embed_tokens(tokens)
        return head(
            embedded,
            hidden,
            position_embeddings=angles,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=None,
        )

    states = run(tokens, hidden)
    reference = {"next_tokens": _numpy(tokens[0]), "logits": _numpy(target.lm_head(states)[0])}
    chain, logits = [], []
    for _ in range(4):
        states = run(tokens, hidden)
        logits.append(target.lm_head(states[0, -1]))
        chain.append(int(logits[-1].argmax()))
        hidden, tokens = torch.cat([hidden, states[:, -1:]], 1), torch.cat([tokens, torch.tensor([chain[-1:]])], 1)
    reference |= {"draft_tokens": np.array(chain, np.int32), "draft_logits": _numpy(torch.stack(logits))}
    names = {"eh_proj": "fc", "enorm": "pre_fc_norm_embedding", "hnorm": "pre_fc_norm_hidden", "post_norm": "norm"}
    tensors = {}
    for name, value in head.state_dict().items():
        stem = name.removesuffix(".weight")
        renamed = f"mtp.{names[stem]}.weight" if stem in names else name.replace("mtp_block.", "mtp.layers.0.")
        tensors[renamed] = value.to(torch.bfloat16).contiguous().clone()
    _save(out / "mtp", tensors, "mtp.safetensors", reference)


def _numpy(value: torch.Tensor) -> np.ndarray:
    return value.numpy() if value.is_floating_point() else value.numpy().astype(np.int32)


def _save(folder: Path, tensors: dict[str, torch.Tensor], name: str, reference: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / name, metadata={"format": "pt"})
    np.savez_compressed(folder / "reference.npz", **reference)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/drafts"
    torch.set_grad_enabled(False)
    target = Qwen3_5ForCausalLM.from_pretrained(TARGET, dtype=torch.float32, attn_implementation="eager").eval()
    with np.load(TARGET / "reference.npz") as reference:
        text = torch.tensor(np.concatenate([reference["tokens"], reference["greedy_tokens"]]).astype(np.int64))
    for name, arguments in DRAFTS.items():
        make_dflash(name, arguments, target, text, out)
    write_gguf(out / "dflash2", DRAFTS["dflash2"])
    make_mtp(target, text, out)


if __name__ == "__main__":
    main()
