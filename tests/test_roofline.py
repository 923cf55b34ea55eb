"""The roofline: rates agree with data sheets, bounds add up, and published speeds of other engines stay below them."""

import pytest

from hfc.target.arch import FEATURES, GPUS, find_arch
from hfc.target.roofline import RATES, RooflineWork, launch_seconds, least_seconds, operations_per_clock, rate


def card_of(arch_name, name):
    return next(card for card in find_arch(arch_name).cards if card.name == name)


@pytest.mark.parametrize(
    "arch, card, feature, tera",  # peaks of the vendors' data sheets, dense
    [
        ("gfx906", "Instinct MI50", "dot4_i8", 53.0),
        ("gfx906", "Instinct MI50", "dot2_f16", 26.5),
        ("gfx906", "Instinct MI50", "", 13.3),
        ("gfx908", "Instinct MI100", "mfma_f16", 184.6),
        ("gfx90a", "Instinct MI210", "mfma_f16", 181.0),
        ("gfx90a", "Instinct MI210", "mfma_i8", 181.0),
        ("gfx942", "Instinct MI300X", "mfma_f16", 1307.4),
        ("gfx942", "Instinct MI300X", "mfma_i8_k32", 2614.9),
        ("gfx942", "Instinct MI300X", "", 163.4),
        ("gfx950", "Instinct MI355X", "mfma_f16", 2516.6),
        ("gfx950", "Instinct MI355X", "mfma_i8_k32", 5033.2),
        ("gfx1010", "RX 5700 XT", "", 9.75),
        ("gfx1030", "RX 6900 XT", "", 23.04),
        ("gfx1030", "RX 6900 XT", "packed_f16", 46.08),
        ("gfx1100", "RX 7900 XTX", "", 61.4),
        ("gfx1100", "RX 7900 XTX", "wmma_f16", 122.8),
        ("gfx1201", "RX 9070 XT", "wmma_f16", 195.0),
        ("gfx1201", "RX 9070 XT", "wmma_i8", 389.0),
        ("gfx1201", "RX 9070 XT", "wmma_i4", 779.0),
        ("sm_90", "H100 SXM", "", 66.9),
        ("sm_90", "H100 SXM", "mma_f16", 989.5),
    ],
)
def test_rates_are_those_of_the_data_sheets(arch, card, feature, tera):
    # H100's tensor peak is stated at 1.83 GHz, its f32 peak at 1.98
    tolerance = 0.09 if feature.startswith("mma") else 0.02
    assert rate(find_arch(arch), card_of(arch, card), feature) / 1e12 == pytest.approx(tera, rel=tolerance)


def test_a_launch_takes_the_longer_of_memory_and_arithmetic():
    arch, card = find_arch("gfx1100"), card_of("gfx1100", "RX 7900 XTX")
    cost = launch_seconds(arch)
    assert least_seconds([RooflineWork(960e9, 1)], arch, card) == pytest.approx(1 + cost)
    assert least_seconds([RooflineWork(1, 2 * rate(arch, card))], arch, card) == pytest.approx(2 + cost)
    assert least_seconds([RooflineWork(960e9, 1), RooflineWork(0, 0)], arch, card) == pytest.approx(1 + 2 * cost)
    with pytest.raises(AssertionError, match="no rate"):
        operations_per_clock(arch, "wmma_f17")


def test_every_gpu_has_a_rate_for_what_it_can():
    instructions = {name for name, _, _ in RATES}
    for arch in GPUS:
        assert all(operations_per_clock(arch, f) >= 128 for f in arch.features & instructions)
        assert 0.5e-6 < launch_seconds(arch) < 10e-6
        assert all(500 < card.clock_mhz < 3500 for card in arch.cards)
    assert {name for name in instructions if not name.startswith("mma_")} <= FEATURES.keys()
