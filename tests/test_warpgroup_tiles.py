"""Large and small tiles of products by warpgroups: together they make every output of every row once, whatever the number of rows."""

import pytest

from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.skeletons.linear.warpgroup.geometry import launches
from hfc.backend.spec import Arg, Bound
from hfc.bundles.grid import grid_value
from hfc.formats import block_format
from hfc.target.arch import find_arch

SHAPES = {"gate and up": ((8704, 8704), True), "gate and up of one card": ((17408, 17408), True), "down": ((5120,), False),
          "query, key and value": ((6144, 512, 512), False), "odd": ((8680, 8680), True), "few": ((70, 70), True)}  # fmt: skip


def bound(sizes: tuple[int, ...], zipped: bool) -> Bound[LinearRegion]:
    form = block_format("q4_k")
    parts = tuple(Matrix(Arg(f"w{i}", "weight", "uint8_t", None), form, n, "") for i, n in enumerate(sizes))
    region = LinearRegion(k=5120, parts=parts, load="x[j]", zipped=zipped, single_product=True)
    return Bound("linear", "some", (), "T", region)


def made(tile, rows: int) -> set[int]:
    """Blocks of 64 outputs, as small tiles count them, that a launch makes; each large one is two of them."""
    tiles, blocks, _ = (grid_value(expression, {"T": rows, "R": 0, "G": 1, "C": 128}) for expression in tile.grid)
    if not tiles or not blocks:
        return set()
    assert tiles == -(-rows // tile.params.tile_rows)
    first = tile.params.blocks - blocks if tile.params.blocks else 0  # `first` of linear_warpgroup.hip.j2
    assert first >= 0
    return set(range(first, first + blocks))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_output_is_made_once(shape):
    sizes, zipped = SHAPES[shape]
    region = bound(sizes, zipped)
    _, large, small = launches(region, find_arch("sm_90"))
    step = 32 if zipped else 64
    groups = [(large.params.groups[i].start, small.params.groups[i].start, part.n)
              for i, part in enumerate(region.region.parts[: len(large.params.groups)])]  # fmt: skip
    both = 0
    for rows in range(1, 1300):
        by_large, by_small = made(large, rows), made(small, rows)
        both += bool(by_large and by_small)
        for start, start_small, n in groups:
            of_large = {(b - start) * 2 * step + o for b in by_large if b >= start for o in range(0, 2 * step, step)}
            of_small = {(b - start_small) * step for b in by_small if b >= start_small}
            wanted = set(range(0, n, step))
            assert not (of_large & of_small & wanted) and wanted <= of_large | of_small, (shape, rows)
    assert bool(both) == shape.startswith(("gate", "odd", "down"))


def test_the_large_tile_begins_with_the_first_output():
    _, large, small = launches(bound((8704, 8704), True), find_arch("sm_90"))
    assert large.params.blocks == 0 and small.params.blocks == 272
    assert grid_value(large.grid[1], {"T": 512, "R": 0, "G": 1, "C": 128}) == 132
    assert grid_value(small.grid[1], {"T": 512, "R": 0, "G": 1, "C": 128}) == 8
