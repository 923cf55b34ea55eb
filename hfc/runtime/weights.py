"""The plan's weights, from the checkpoint to the layout that its kernels read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint, evaluate
from hfc.formats.checkpoint.evaluate import WeightData
from hfc.formats.tile import pack_tiles, tile_layout
from hfc.plan import ConstRef, Plan, WeightRef
from hfc.runtime.memory import address, allocate

HUGE_PAGE = 1 << 21
TILE_ALIGNMENT = 256
# Bytes of a weight that is copied out of the file. Every step reads norms and convolutions, and with a page of theirs the system maps
# what lies in one piece of its cache, up to 2 MB: for the 200 small weights of 0.8B 100 MB, of a file of 513.
COPIED = 1 << 20
RELEASE_EVERY = 64 << 20  # bytes of weights, after which the file's pages are given back: a model is not resident twice

Progress = Callable[[int, int], None]  # done, total (weights)
Packer = Callable[[str, np.ndarray, tuple[int, ...], "np.ndarray | None"], np.ndarray]  # format, rows, shape, where to


def numpy_packer(format_name: str, raw: np.ndarray, shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    return pack_tiles(weight_format(format_name), raw, shape, out)


def load_weights(
    plan: Plan, checkpoint: Checkpoint, progress: Progress | None = None, pack: Packer = numpy_packer
) -> dict[str, np.ndarray]:
    """name -> uint8 in the layout of the reference. Rows that need no change stay views of the mapped file if they are many."""
    loaded, tiles, read = {}, TileArena(plan), 0
    for done, ref in enumerate(plan.weights):
        raw = load_weight(ref, checkpoint, plan.context, tiles, pack)
        loaded[ref.name] = raw.copy() if ref.layout != "tile16" and raw.nbytes <= COPIED else raw
        read += loaded[ref.name].nbytes
        if read > RELEASE_EVERY:
            checkpoint.release()
            read = 0
        if progress:
            progress(done + 1, len(plan.weights))
    checkpoint.release()
    return loaded


class TileArena:
    """One piece of memory for all weights in tiles: 2 MB pages serve small weights too."""

    def __init__(self, plan: Plan):
        self._sizes = {
            r.name: tile_layout(weight_format(r.format)).nbytes(r.shape) for r in plan.weights if r.layout == "tile16"
        }
        self._memory = allocate(sum(map(_padded, self._sizes.values())) + HUGE_PAGE)
        self._used = -address(self._memory) % HUGE_PAGE

    def take(self, name: str) -> np.ndarray:
        start, size = self._used, self._sizes[name]
        self._used += _padded(size)
        return self._memory[start : start + size]


def _padded(size: int) -> int:
    return -(-size // TILE_ALIGNMENT) * TILE_ALIGNMENT


def load_weight(
    ref: WeightRef,
    checkpoint: Checkpoint,
    context: int,
    tiles: TileArena | None = None,
    pack: Packer = numpy_packer,
) -> np.ndarray:
    data = evaluate(ref.recipe, checkpoint, context).with_shape(ref.shape, ref.name)
    if data.format != ref.format:
        data = _convert(data, ref, checkpoint)
    if ref.layout == "tile16":
        return pack(ref.format, data.raw, ref.shape, tiles and tiles.take(ref.name))
    return data.raw


def load_const(ref: ConstRef, checkpoint: Checkpoint | None, context: int) -> np.ndarray:
    """checkpoint: None where it is made of no tensors."""
    shape = tuple(context if size == "C" else size for size in ref.shape)
    return evaluate(ref.recipe, checkpoint, context).with_shape(shape, ref.name).raw


def _convert(data: WeightData, ref: WeightRef, checkpoint: Checkpoint) -> WeightData:
    """Vectors widen to f32; anything else was compiled for another checkpoint."""
    if ref.format != "f32":
        raise HfcError(
            f"{checkpoint.path}: {ref.name} is stored as {data.format}, the plan was compiled for {ref.format}",
            hint="compile the model again with these weights",
        )
    values = np.ascontiguousarray(data.f32(), np.float32)
    return WeightData("f32", data.shape, values.view(np.uint8).reshape(*data.shape[:-1], -1))
