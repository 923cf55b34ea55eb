"""Checkpoints that other programs quantized: the stored parts of a weight (codes, scales, zero points) are read as one tensor.

FP8, GPTQ, AWQ, compressed-tensors and ModelOpt, and GGUF's NVFP4. What is on the grid of one of our formats has that format (GPTQ without reordered
columns: q4_0, q8_0; MXFP4: mxfp4), bit for bit; NVFP4 is nvfp4b32; the rest is f32, as exact as its codes and scales are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import READABLE, BlockFormat, block_format, nvfp, weight_format
from hfc.formats.checkpoint.stored import TensorInfo
from hfc.formats.checkpoint.unpacking import E4M3, awq_codes, dense_codes, of_columns, spread
from hfc.formats.grid import nibbles
from hfc.formats.mxfp import GROUP, from_pair

METHODS = ("fp8", "finegrained_fp8", "fbgemm_fp8", "gptq", "awq", "compressed-tensors", "modelopt")
INTEGERS = {"i8": "i1", "u8": "u1", "f8_e4m3": "u1", "i32": "<i4", "i64": "<i8"}  # codes; other parts are read as f32
NVFP4 = block_format("nvfp4b32")
EXPONENTS = "f8_e8m0"  # powers of two
# Ends of names of what only another engine's arithmetic needs: quantized inputs and KV caches
UNUSED = ("input_scale", "input_zero_point", "input_global_scale", "k_scale", "v_scale", "q_scale", "output_scale")
WRONG = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
)  # what arithmetic on a damaged file's shapes raises
TABLES = ("i32", "i64")  # matrices of whole numbers: experts of each token, where a hash chooses them (DeepSeek V4)
Parts = dict[str, np.ndarray]


@dataclass(frozen=True)
class PublishedTensor:
    """info: what it is read as; its place is that of its codes.  parts: by role.  decode: arrays of them -> bytes, u8 [..., row_bytes]."""

    info: TensorInfo
    parts: Mapping[str, TensorInfo]
    decode: Callable[[Parts], np.ndarray]


@dataclass(frozen=True)
class PublishedScheme:
    """What quantization_config says. block: rows and columns under one scale; group: columns, 0 for a whole row."""

    method: str
    bits: int
    group: int
    block: tuple[int, int]
    is_symmetric: bool
    is_reordered: bool
    zero_offset: int  # what is added to a stored zero point


def published_method(config: Mapping[str, Any]) -> str | None:
    """The method of a checkpoint's config, if it is one that is read here."""
    found = config.get("quantization_config") or config.get("compression_config")
    method = found.get("quant_method") if isinstance(found, Mapping) else None
    return method if isinstance(method, str) and method in METHODS else None


def without_quantization(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the model itself, where its tensors are read here."""
    if published_method(config) is None:
        return config
    return {key: value for key, value in config.items() if key not in ("quantization_config", "compression_config")}


def published_tensors(
    where: Path, config: Mapping[str, Any], tensors: dict[str, TensorInfo]
) -> tuple[dict[str, TensorInfo], dict[str, PublishedTensor]]:
    """Tensors by the names of a checkpoint that nobody quantized, and those of them that are made of parts."""
    if published_method(config) is None:
        return _with_tables(tensors, {})
    try:
        scheme = _scheme(where, config.get("quantization_config") or config["compression_config"])
    except WRONG as error:
        raise HfcError(f"{where}: quantization_config of config.json cannot be read: {error}") from None
    made = {}
    for name, info in tensors.items():
        find = next(find for ending, find in ENDINGS.items() if name.endswith(ending))
        try:
            found = find(where, name, info, tensors, scheme)
        except WRONG:
            raise HfcError(
                f"{where}: {name!r}, {info.format}{list(info.shape)}, holds no codes of {scheme.bits} bits as {scheme.method} does",
                hint="the checkpoint is damaged, or of a newer kind",
            ) from None
        if found is not None:
            made[found.info.name] = found
    whole = {one.parts["codes"].name: one.info for one in made.values()}
    taken = {part.name for one in made.values() for part in one.parts.values()} - whole.keys()
    seen = [whole.get(n, t) for n, t in tensors.items() if n not in taken and n.rpartition(".")[2] not in UNUSED]
    return _with_tables({info.name: info for info in seen}, made)


def _with_tables(
    tensors: dict[str, TensorInfo], made: dict[str, PublishedTensor]
) -> tuple[dict[str, TensorInfo], dict[str, PublishedTensor]]:
    """Both, with tables of whole numbers read as f32, which holds those below 2^24 as they are."""
    tables = {
        name: PublishedTensor(
            _read_as(info, name, "f32", info.shape), {"codes": info}, lambda found: _f32(found["codes"])
        )
        for name, info in tensors.items()
        if info.format in TABLES and len(info.shape) == 2 and name not in made
    }
    return tensors | {name: table.info for name, table in tables.items()}, made | tables


def decoded(made: PublishedTensor, stored: Callable[[TensorInfo], np.ndarray]) -> np.ndarray:
    """The tensor's bytes, u8 [..., row_bytes]. stored: the bytes of a part. HfcError where its parts do not fit each other."""
    try:
        parts = {}
        for role, info in made.parts.items():
            parts[role] = _array(info, stored(info))
        return made.decode(parts).reshape(*made.info.shape[:-1], made.info.row_bytes)
    except WRONG as error:
        shapes = ", ".join(
            f"{info.name.rpartition('.')[2]} {info.format}{list(info.shape)}" for info in made.parts.values()
        )
        raise HfcError(f"tensor {made.info.name!r}: its parts do not fit each other: {shapes} ({error})") from None


def _array(info: TensorInfo, raw: np.ndarray) -> np.ndarray:
    """Codes as they are, other parts as f32; of blocks the bytes of each row."""
    if info.format in INTEGERS:
        return raw.view(INTEGERS[info.format]).reshape(info.shape)
    if info.format in READABLE:
        return weight_format(info.format).unpack(raw).reshape(info.shape)
    return raw.reshape(*info.shape[:-1], info.row_bytes)


def gguf_tensors(tensors: dict[str, TensorInfo]) -> tuple[dict[str, TensorInfo], dict[str, PublishedTensor]]:
    """Tensors of a GGUF, and how those are made that another tensor may scale."""
    made = {name: _of_gguf(info, tensors) for name, info in tensors.items() if info.format == "nvfp4"}
    taken = {part.name for one in made.values() for part in one.parts.values()} - made.keys()
    taken |= {name.removesuffix("weight") + "input_scale" for name in made}
    return {name: made[name].info if name in made else t for name, t in tensors.items() if name not in taken}, made


def _of_gguf(info: TensorInfo, tensors: Mapping[str, TensorInfo]) -> PublishedTensor:
    """NVFP4, which may have one more scale beside it, for the tensor or for each expert."""
    parts = {"codes": info, **_optional(info.name.removesuffix("weight"), tensors, {"scale": "scale"})}

    def decode(found: Parts) -> np.ndarray:
        codes, scale = nvfp.of_gguf(found["codes"])
        if "scale" in found:
            scale = scale * found["scale"].reshape(-1, *(1 for _ in info.shape[1:]))
        return nvfp.packed(NVFP4, codes, scale)

    return PublishedTensor(_read_as(info, info.name, NVFP4.name, info.shape), parts, decode)


def _scheme(where: Path, found: Mapping[str, Any]) -> PublishedScheme:
    method = found["quant_method"]
    for key in ("transform_config", "sparsity_config"):
        inner = found.get(key) or {}
        if inner and inner.get("format", "") != "dense" and inner.get("config_groups") != {}:
            raise HfcError(
                f"{where}: quantization_config.{key}: {str(inner)[:80]}; hfc reads weights that are neither rotated nor sparse",
                hint="take a GGUF of the model, or the repository that it was made from",
            )
    groups = found.get("config_groups") or {}
    inner = next((g["weights"] for g in groups.values() if isinstance(g, Mapping) and g.get("weights")), {})
    merged = {**found, **inner}
    block = merged.get("weight_block_size") or merged.get("block_structure") or (128, 128)
    is_symmetric = merged.get("sym", merged.get("symmetric", not merged.get("zero_point", False)))
    bits = int(merged.get("bits") or merged.get("num_bits") or merged.get("w_bit") or 4)
    if not 1 <= bits <= 8:
        raise ValueError(f"codes of {bits} bits; 1 to 8 are read")
    return PublishedScheme(
        method,
        bits=bits,
        group=max(int(merged.get("group_size") or merged.get("q_group_size") or 0), 0),
        block=(int(block[0]), int(block[1])),
        is_symmetric=bool(is_symmetric),
        is_reordered=bool(merged.get("desc_act") or merged.get("actorder")),
        zero_offset=0 if found.get("checkpoint_format") == "gptq_v2" or method == "awq" else 1,
    )


def _part(where: Path, name: str, tensors: Mapping[str, TensorInfo], *endings: str) -> TensorInfo:
    """The first of the tensors `name` + ending that there is."""
    for ending in endings:
        if name + ending in tensors:
            return tensors[name + ending]
    raise HfcError(
        f"{where}: {name!r} is quantized and has no {' or '.join(repr(name + e) for e in endings)}",
        hint="the checkpoint is incomplete: download it again",
    )


def _optional(name: str, tensors: Mapping[str, TensorInfo], roles: Mapping[str, str]) -> dict[str, TensorInfo]:
    return {role: tensors[name + ending] for role, ending in roles.items() if name + ending in tensors}


def _scaled(
    where: Path, name: str, info: TensorInfo, tensors: Mapping[str, TensorInfo], scheme: PublishedScheme
) -> PublishedTensor | None:
    """F8 or I8 under scales: of the tensor, its rows, or blocks; 4-bit floats of ModelOpt, two in a byte."""
    if info.format == "u8" and f"{name}_scale_2" in tensors:
        parts = {"codes": info, "scale": _part(where, name, tensors, "_scale"), "global": tensors[f"{name}_scale_2"]}
        return _floats4(name, parts, is_divided=False)
    is_own_part = name.rpartition("_")[2] in ("scale", "point")  # a scale in F8, a zero point in I8
    if info.format not in ("f8_e4m3", "i8") or is_own_part:
        return None
    stem = name.removesuffix(".weight")  # DeepSeek V4 has its scales there, as exponents
    scale = tensors.get(f"{stem}.scale") or _part(where, name, tensors, "_scale_inv", "_scale")
    parts = {"codes": info, "scale": scale}
    if info.format == "i8" and scale.format == EXPONENTS:
        return _mxfp4(name, parts)
    parts |= _optional(name, tensors, {"zero": "_zero_point"})

    def decode(found: Parts) -> np.ndarray:
        codes = found["codes"]
        values = E4M3[codes] if info.format == "f8_e4m3" else codes.astype(np.float32)
        if "zero" in found:
            values = values - spread(found["zero"].astype(np.float32), codes.shape, scheme.block)
        scales = np.exp2(found["scale"] - 127.0).astype(np.float32) if scale.format == EXPONENTS else found["scale"]
        return _f32(values * spread(scales, codes.shape, scheme.block))

    return PublishedTensor(_read_as(info, name, "f32", info.shape), parts, decode)


def _packed(
    where: Path, name: str, info: TensorInfo, tensors: Mapping[str, TensorInfo], scheme: PublishedScheme
) -> PublishedTensor:
    """compressed-tensors: integers of any width dense in words, or 4-bit floats two in a byte."""
    name = name.removesuffix("_packed")
    parts = {"codes": info, "scale": _part(where, name, tensors, "_scale")}
    if info.format == "u8":
        if parts["scale"].format == "u8":
            return _mxfp4(name, parts)
        return _floats4(name, parts | {"global": _part(where, name, tensors, "_global_scale")}, is_divided=True)
    parts |= _optional(name, tensors, {"zero": "_zero_point", "group_of": "_g_idx", "shape": "_shape"})
    groups = parts["scale"].shape[-1]
    columns = groups * scheme.group if scheme.group and groups > 1 else info.shape[-1] * 32 // scheme.bits
    if not 0 < columns <= info.shape[-1] * 32 // scheme.bits:
        raise ValueError(columns)
    shape = (*info.shape[:-1], columns)
    is_plain = scheme.is_symmetric and not scheme.is_reordered
    format = _grid(parts["scale"], scheme, columns) if is_plain and "group_of" not in parts else "f32"

    def decode(found: Parts) -> np.ndarray:
        codes = dense_codes(found["codes"], scheme.bits)[..., :columns]
        if "shape" in found and tuple(found["shape"]) != shape:
            raise HfcError(f"{name!r} says that its shape is {found['shape'].tolist()}, its codes are of {list(shape)}")
        zero: int | np.ndarray = 1 << scheme.bits - 1
        if "zero" in found:  # packed along the rows
            zero = dense_codes(found["zero"].swapaxes(-1, -2), scheme.bits).swapaxes(-1, -2)[..., : shape[-2], :]
        return _grouped(codes, found["scale"], zero, found.get("group_of"), format, scheme.group or columns)

    return PublishedTensor(_read_as(info, name, format, shape), parts, decode)


def _words(
    where: Path, name: str, info: TensorInfo, tensors: Mapping[str, TensorInfo], scheme: PublishedScheme
) -> PublishedTensor:
    """GPTQ: codes dense along the inputs, [k, n]; AWQ: along the outputs, eight columns to a word in an order of its own."""
    stem, is_awq = name.removesuffix("qweight"), scheme.method == "awq"
    parts = {
        "codes": info,
        "scale": _part(where, stem, tensors, "scales"),
        "zero": _part(where, stem, tensors, "qzeros"),
    }
    parts |= _optional(stem, tensors, {"group_of": "g_idx"})
    unpack = awq_codes if is_awq else lambda words: dense_codes(words, scheme.bits)
    rows, words = info.shape
    k, n = (rows, words * 8) if is_awq else (rows * 32 // scheme.bits, words)
    is_plain = scheme.is_symmetric and not scheme.is_reordered and not is_awq
    format = _grid(parts["scale"], scheme, k) if is_plain else "f32"

    def decode(found: Parts) -> np.ndarray:
        codes = unpack(found["codes"]).T if is_awq else dense_codes(np.ascontiguousarray(found["codes"].T), scheme.bits)
        zero = unpack(found["zero"]).T[:n].astype(np.int32) + scheme.zero_offset
        group = scheme.group or k
        group_of = found.get("group_of")
        if group_of is not None and np.array_equal(group_of, np.arange(k) // group):
            group_of = None
        if format != "f32" and (group_of is not None or (zero != 1 << scheme.bits - 1).any()):
            raise HfcError(
                f"{name!r}: quantization_config says symmetric codes in order, its zero points or g_idx say otherwise"
            )
        return _grouped(codes, found["scale"].T, zero, group_of, format, group)

    return PublishedTensor(_read_as(info, f"{stem}weight", format, (n, k)), parts, decode)


def _floats4(name: str, parts: dict[str, TensorInfo], is_divided: bool) -> PublishedTensor:
    """NVFP4: 16 values under a scale in F8, and one for the whole tensor, which divides or multiplies."""
    codes = parts["codes"]

    def decode(found: Parts) -> np.ndarray:
        whole = found["global"].reshape(-1)[0]
        scale = E4M3[found["scale"]] / whole if is_divided else E4M3[found["scale"]] * whole
        numbers = nibbles(found["codes"])
        if numbers.shape[-1] != scale.shape[-1] * nvfp.GROUP:
            raise ValueError(f"{scale.shape[-1]} scales for {numbers.shape[-1]} columns")
        return nvfp.packed(NVFP4, numbers, scale)

    columns = 2 * codes.shape[-1]
    if columns % NVFP4.block:
        raise HfcError(f"tensor {name!r}: NVFP4 with rows of {columns}, which is no multiple of {NVFP4.block}")
    return PublishedTensor(_read_as(codes, name, NVFP4.name, (*codes.shape[:-1], columns)), parts, decode)


def _mxfp4(name: str, parts: dict[str, TensorInfo]) -> PublishedTensor:
    codes, scale = parts["codes"], parts["scale"]
    shape = (*scale.shape[:-1], scale.shape[-1] * GROUP)
    decode = lambda found: from_pair(found["codes"].view(np.uint8).reshape(*scale.shape, GROUP // 2), found["scale"])  # noqa: E731
    return PublishedTensor(_read_as(codes, name, "mxfp4", shape), parts, decode)


def _grid(scale: TensorInfo, scheme: PublishedScheme, columns: int) -> str:
    """Our format whose values are these codes times these scales exactly, else f32."""
    format = {4: "q4_0", 8: "q8_0"}.get(scheme.bits, "f32")
    return format if scale.format == "f16" and (scheme.group or columns) % 32 == 0 and columns % 32 == 0 else "f32"


def _grouped(
    codes: np.ndarray, scale: np.ndarray, zero: int | np.ndarray, group_of: np.ndarray | None, format: str, group: int
) -> np.ndarray:
    """Codes [n, k] and scales [n, groups] -> bytes in `format`. zero: a number, or [n, groups]."""
    columns = codes.shape[-1]
    if format != "f32":
        d = of_columns(scale, columns // 32, group // 32, None)
        form = weight_format(format)
        assert isinstance(form, BlockFormat), form
        blocks = form.assemble({"d": d.reshape(-1, 1), "q": codes.reshape(-1, 32)})
        return blocks.reshape(*codes.shape[:-1], -1)
    zeros = zero if isinstance(zero, int) else of_columns(zero, columns, group, group_of)
    values = codes.astype(np.float32) - zeros
    return _f32(values * of_columns(scale.astype(np.float32), columns, group, group_of))


def _f32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint8)


def _read_as(codes: TensorInfo, name: str, format: str, shape: tuple[int, ...]) -> TensorInfo:
    return replace(codes, name=name, format=format, shape=shape, row_bytes=weight_format(format).row_bytes(shape[-1]))


# How names of codes end -> what finds the rest
ENDINGS = {".qweight": _words, "_packed": _packed, "": _scaled}
