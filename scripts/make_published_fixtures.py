#!/usr/bin/env python
"""tests/data/published/NAME.safetensors: one weight as another program stores it, and `expected`, its values by that program.

    scripts/make_published_fixtures.py          # needs torch and compressed-tensors

FP8 as transformers reads it, compressed-tensors by its own compressors, GPTQ and AWQ packed element by element as their kernels read
them. `__metadata__.config` is quantization_config of config.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "tests/data/published"
N, K, NAME = 32, 128, "model.layers.0.mlp.up_proj"
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def weight() -> torch.Tensor:
    torch.manual_seed(7)
    return torch.randn(N, K) * 0.05 * torch.logspace(-1, 1, N)[:, None]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (tensors, config, expected) in {**floats(), **compressed(), **words()}.items():
        named = {f"{NAME}.{key}": value.contiguous() for key, value in tensors.items()}
        save_file(
            {**named, "expected": expected.float().contiguous()},
            FOLDER / f"{name}.safetensors",
            {"config": json.dumps(config)},
        )


def floats() -> dict:
    """FP8: a scale for each block (DeepSeek, Qwen), for each row (fbgemm), for the tensor (ModelOpt)."""
    w, made = weight(), {}
    for name, block, method, ending in (
        ("fp8-blocks", (16, 32), "fp8", "weight_scale_inv"),
        ("fp8-rows", (1, K), "fbgemm_fp8", "weight_scale"),
        ("fp8-tensor", (N, K), "modelopt", "weight_scale"),
    ):
        scale = torch.empty(-(-N // block[0]), -(-K // block[1]))
        whole = torch.empty(N, K)
        for i in range(scale.shape[0]):
            for j in range(scale.shape[1]):
                part = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
                scale[i, j] = w[part].abs().max() / 448
                whole[part] = scale[i, j]
        codes = (w / whole).to(torch.float8_e4m3fn)
        stored = scale.reshape(()) if method == "modelopt" else scale
        config = {"quant_method": method, "activation_scheme": "dynamic", "weight_block_size": list(block)}
        made[name] = ({"weight": codes, ending: stored}, config, codes.float() * whole)
    return made


SCHEMES = {  # format of compressed-tensors, arguments of its weights
    "ct-int4-groups": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32)),
    "ct-int4-zero-points": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32, symmetric=False)),
    "ct-int8-rows-packed": ("pack-quantized", dict(num_bits=8, strategy="channel")),
    "ct-int3-rows": ("pack-quantized", dict(num_bits=3, strategy="channel")),
    "ct-int8": ("int-quantized", dict(num_bits=8, strategy="channel")),
    "ct-fp8": ("float-quantized", dict(num_bits=8, type="float", strategy="channel")),
    "ct-nvfp4": ("nvfp4-pack-quantized", dict(num_bits=4, type="float", strategy="tensor_group", group_size=16)),
    "ct-mxfp4": ("mxfp4-pack-quantized", dict(num_bits=4, type="float", strategy="group", group_size=32)),
}


def compressed() -> dict:
    made = {}
    for name, (format, wanted) in SCHEMES.items():
        args, w = QuantizationArgs(**wanted), weight()
        groups = w.reshape(N, -1, wanted.get("group_size", K))
        extra = {}
        if format == "nvfp4-pack-quantized":
            extra = {"weight_global_scale": generate_gparam(w.min(), w.max())}
        scale, zero = calculate_qparams(
            groups.amin(-1), groups.amax(-1), args, **({"global_scale": extra["weight_global_scale"]} if extra else {})
        )
        scale = scale.half().float() if format == "pack-quantized" and args.num_bits == 4 else scale
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        compressor = BaseCompressor.get_value_from_registry(format)
        state = {"weight": w, "weight_scale": scale, "weight_zero_point": zero, **extra}
        tensors = compressor.compress(state, scheme)
        expected = compressor.decompress(dict(tensors), scheme)["weight"]
        if scale.dtype == torch.float32 and torch.equal(scale.half().float(), scale):
            tensors["weight_scale"] = tensors["weight_scale"].half()
        config = {
            "quant_method": "compressed-tensors",
            "format": format,
            "config_groups": {"group_0": {"weights": wanted}},
        }
        made[name] = (tensors, config, expected)
    return made


def dense(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """[k, n] of `bits` bits -> i32 [k * bits / 32, n]: a stream of bits down each column."""
    k, n = codes.shape
    out = torch.zeros(k * bits // 32, n, dtype=torch.int64)
    for row in range(k):
        for bit in range(bits):
            at = row * bits + bit
            out[at // 32] |= (codes[row].long() >> bit & 1) << at % 32
    return torch.where(out >= 1 << 31, out - (1 << 32), out).int()


def words() -> dict:
    made = {}
    for name, method, bits, is_symmetric, is_reordered in (
        ("gptq-int4", "gptq", 4, True, False), ("gptq-int8", "gptq", 8, True, False), ("gptq-int3", "gptq", 3, False, False),
        ("gptq-reordered", "gptq", 4, False, True), ("awq", "awq", 4, False, False),
    ):  # fmt: skip
        group, peak = 32, (1 << bits) - 1
        groups = weight().T.reshape(K // group, group, N)
        low, high = groups.amin(1).clamp(max=0), groups.amax(1).clamp(min=0)
        scale = (2 * torch.maximum(-low, high) / peak if is_symmetric else (high - low) / peak).half()
        zero = torch.full_like(low, 1 << bits - 1) if is_symmetric else (-low / scale.float()).round().clamp(1, peak)
        group_of = torch.arange(K) // group
        if is_reordered:
            group_of = group_of[torch.randperm(K, generator=torch.Generator().manual_seed(1))]
        s, z = scale.float()[group_of], zero[group_of]
        codes = (weight().T / s + z).round().clamp(0, peak)
        expected = ((codes - z) * s).T
        if method == "awq":
            order = torch.tensor([8 * i + j for i in range(N // 8) for j in AWQ_ORDER])
            tensors = {
                "qweight": dense(codes[:, order].T, 4).T,
                "qzeros": dense(zero[:, order].T, 4).T,
                "scales": scale,
            }
            config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
        else:
            tensors = {
                "qweight": dense(codes, bits),
                "qzeros": dense(zero.T - 1, bits).T,
                "scales": scale,
                "g_idx": group_of.int(),
            }
            config = {
                "quant_method": "gptq",
                "bits": bits,
                "group_size": group,
                "sym": is_symmetric,
                "desc_act": is_reordered,
            }
        made[name] = (tensors, config, expected)
    return made


if __name__ == "__main__":
    main()
