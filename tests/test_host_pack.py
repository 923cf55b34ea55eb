"""The compiled packer of host libraries: bit for bit numpy's, in every format, whole and cut into tiles."""

import ctypes

import numpy as np
import pytest

from hfc.backend.host.build import header_source
from hfc.backend.host.pack import pack_source
from hfc.backend.library import build_for_cpu
from hfc.formats import FORMATS, weight_format
from hfc.formats.tile import pack_tiles, tile_layout
from hfc.runtime.pack import TilePacker


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    source = "\n".join((header_source(max_rows=1), *map(pack_source, sorted(FORMATS))))
    return ctypes.CDLL(str(build_for_cpu(source, "native")))


def random_rows(form, n, k):
    rng = np.random.default_rng(k)
    if not form.quantized:
        return form.pack(rng.standard_normal((n, k), np.float32))
    raw = rng.integers(0, 256, (n, form.row_bytes(k)), np.uint8)
    for field in (f for f in form.fields if f.dtype in ("f16", "f32")):
        blocks = raw.reshape(-1, form.block_bytes)
        blocks[:, form.offsets[field.name] + field.nbytes - 1] &= 0x3F  # no infinities: NaN has many spellings
    return raw


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_equal_to_numpy(library, name, blocks):
    form = weight_format(name)
    n, k = 37, blocks * max(form.block, 32) if form.quantized else 64 * blocks + 5
    raw, layout = random_rows(form, n, k), tile_layout(form)
    expected = pack_tiles(form, raw, (n, k))
    made, pack = np.zeros_like(expected), library[f"hfc_pack_{name}"]
    for first, last in ((2, 3), (0, 2)):
        pack(raw.ctypes.data_as(ctypes.c_void_p), made.ctypes.data_as(ctypes.c_void_p), n, k, first, last)
    assert made.nbytes == layout.nbytes((n, k)) and made.tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_experts_and_rows(library, threads):
    form = weight_format("q4_k")
    raw = random_rows(form, 3 * 3000, 512).reshape(3, 3000, -1)
    out = np.zeros(tile_layout(form).nbytes((3, 3000, 512)), np.uint8)
    with TilePacker(library, threads) as pack:
        assert pack("q4_k", raw[:, ::1], (3, 3000, 512), out) is out
    assert out.tobytes() == pack_tiles(form, raw, (3, 3000, 512)).tobytes()


def test_a_library_without_packers_still_loads():
    form, raw = weight_format("q8_0"), random_rows(weight_format("q8_0"), 20, 64)
    out = np.zeros(tile_layout(form).nbytes((20, 64)), np.uint8)
    with TilePacker(ctypes.CDLL(None), 2) as pack:
        assert pack("q8_0", raw, (20, 64), out).tobytes() == pack_tiles(form, raw, (20, 64)).tobytes()
