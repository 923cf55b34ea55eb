"""What a file or folder is where it is not a model that hfc can run: one sentence, and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint import published

# quant_method of config.json -> what it is called
METHODS = {
    "fp8": "FP8", "fbgemm_fp8": "FP8", "gptq": "GPTQ", "awq": "AWQ", "bitsandbytes": "bitsandbytes", "bitnet": "BitNet",
    "compressed-tensors": "compressed-tensors (vLLM, llm-compressor)", "modelopt": "ModelOpt", "mxfp4": "MXFP4", "hqq": "HQQ",
    "quark": "Quark", "torchao": "torchao", "aqlm": "AQLM", "eetq": "EETQ", "higgs": "HIGGS", "vptq": "VPTQ", "spqr": "SpQR",
    "finegrained_fp8": "FP8", "auto-round": "AutoRound", "intel/auto-round": "AutoRound",
}  # fmt: skip
READ_METHODS = ("mxfp4", *published.METHODS)  # of the first the model file makes weights of its tensors
# Types of GGUF that llama.cpp gave up, by number: (name, what took their place)
REMOVED_TYPES = {
    4: ("Q4_2", "Q4_0"), 5: ("Q4_3", "Q4_1"), 31: ("Q4_0_4_4", "Q4_0"), 32: ("Q4_0_4_8", "Q4_0"), 33: ("Q4_0_8_8", "Q4_0"),
    36: ("IQ4_NL_4_4", "IQ4_NL"), 37: ("IQ4_NL_4_8", "IQ4_NL"), 38: ("IQ4_NL_8_8", "IQ4_NL"),
}  # fmt: skip
# general.type of a GGUF -> (what it is, what to do)
GGUF_KINDS = {
    "adapter": ("a LoRA adapter, not a model", "merge it into its base model: llama.cpp's llama-export-lora does"),
    "mmproj": ("the image part of a multimodal model (mmproj)", "give the GGUF of the language model beside it"),
    "imatrix": ("an importance matrix", "give the model, and this to `hfc quantize --imatrix`"),
}


def refuse_foreign(path: Path, config: Mapping[str, Any]) -> None:
    """HfcError for the config of a checkpoint, of Hugging Face or of GGUF, that hfc cannot run whatever its model is."""
    kind = config.get("general.type")
    if config.get("general.architecture") == "clip":
        kind = "mmproj"
    if isinstance(kind, str) and kind in GGUF_KINDS:
        what, step = GGUF_KINDS[kind]
        raise HfcError(f"{path}: this is {what}", hint=step)
    found = config.get("quantization_config") or config.get("compression_config")
    if isinstance(found, Mapping) and found.get("quant_method") not in READ_METHODS:
        method = found.get("quant_method") or "no method that it names"
        bits = found.get("bits") or (4 if found.get("load_in_4bit") else None)
        width = f", {bits} bits" if isinstance(bits, int) else ""
        raise HfcError(
            f"{path}: a checkpoint quantized with {METHODS.get(str(method), method)}{width}; hfc reads GGUF, and safetensors in f32, "
            "f16, bf16, FP8, GPTQ, AWQ, MXFP4, compressed-tensors and ModelOpt",
            hint="take a GGUF of the model (hf.co/ORG/NAME-GGUF), or the repository that it was made from: `hfc quantize` packs that",
        )


def refuse_adapter(folder: Path) -> None:
    """HfcError for a folder with a LoRA adapter and no model."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise HfcError(
            f"{folder}: a LoRA adapter, not a model",
            hint="merge it into its base model (peft: model.merge_and_unload(), then save_pretrained) and give that folder",
        )


def type_error(name: str, number: int) -> tuple[str, str]:
    """What is wrong with a tensor whose GGUF type nothing here knows, and what to do."""
    if number in REMOVED_TYPES:
        old, new = REMOVED_TYPES[number]
        return (
            f"tensor {name!r} is of type {old}, which llama.cpp removed",
            f"take a file of type {new}: it holds the same weights",
        )
    return f"tensor {name!r} has unknown type {number}", "a newer GGUF type, or the file is damaged"
