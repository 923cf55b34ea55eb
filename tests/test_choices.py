"""Rows of the table by which decode chooses how to multiply: they are candidates, and compilations follow them."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from hfc.backend.skeletons import chosen, geometry
from hfc.backend.skeletons.linear import choices
from hfc.backend.skeletons.linear.candidates import candidates, launches_as
from hfc.backend.skeletons.linear.choices import candidate, choice_for
from hfc.backend.skeletons.linear.dot.geometry import INPUTS_FIRST, THREADS
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.skinny.geometry import unit_of
from hfc.compiler import CompileOptions, emit_model, open_source, settings_for
from hfc.formats import FORMATS
from hfc.target.arch import ARCHS, find_arch

CONFIG = Path(__file__).parent / "data/configs/Qwen3.5-9B.config.json"


@cache
def regions(form="mq4g256"):
    opened = open_source(CONFIG, default_format=form)
    settings = settings_for(opened, find_arch("gfx1100"), CompileOptions(ctx=4096))
    bounds = (call.bound for call in emit_model(opened, settings).calls)
    return list({bound.name: bound for bound in bounds if isinstance(bound.region, LinearRegion)}.values())


def test_rows_are_candidates_of_known_architectures():
    keys = [(row.arch, row.kind, row.formats, row.k, row.n) for row in choices.choices()]
    assert keys == sorted(set(keys)), "a row twice, or not in order"
    for row in choices.choices():
        arch = ARCHS[row.arch]
        assert row.kind in ("linear", "zip") and row.formats in FORMATS and row.k % 32 == 0
        assert row.best != row.second and 0 < row.best_us <= row.second_us
        for made in (row.best, row.second):
            assert candidate(str(made)) == made
            if made.variant == "dot":
                assert arch.has("dot4_i8") and (THREADS // arch.wave) % made.split == 0 and made.outputs in (1, 2, 3, 4)
            else:
                assert unit_of(arch) and (not made.stages or arch.has("wgmma_f16"))


def test_compilations_follow_the_table():
    """Every linear of 9B has a row on each of these; split and the launches are those of the row."""
    for arch in sorted({row.arch for row in choices.choices()}):
        for bound in regions():
            row = choice_for(bound.region, find_arch(arch))
            assert (row.k, row.n, row.formats) == (bound.region.k, bound.region.outputs, "mq4g256"), bound.name
            shapes = geometry(bound, find_arch(arch), "decode")
            assert chosen(bound, find_arch(arch), "decode").name == row.best.variant
            if row.best.variant == "dot":
                assert {shape.params.split for shape in shapes[1:]} == {row.best.split}
                assert shapes[-1].params.staged == row.best.numbers
                assert shapes[-1].params.outputs == max(1, row.best.outputs // bound.region.together)
                assert (shapes[-1].params.ahead is not None) == row.best.inputs_first


def test_other_sizes_formats_and_cards_take_the_nearest_row():
    bound = next(bound for bound in regions() if bound.region.k == 12288)
    row = choice_for(bound.region, find_arch("gfx1100"))
    near = replace(bound.region, k=11008)
    assert choice_for(near, find_arch("gfx1100")) == row == choice_for(near, find_arch("gfx1101"))
    assert choice_for(near, find_arch("gfx1150")).arch == "gfx1151"
    assert choice_for(near, find_arch("gfx1032")).arch == "gfx1030"  # not gfx906, whose waves are wider
    assert choice_for(replace(near, top=8), find_arch("gfx1100")) is None
    assert choice_for(near, find_arch("sm_90")).arch == "sm_90"


def test_whether_inputs_come_before_weights_is_part_of_a_choice():
    """Where they can; a region whose row is of other formats, or of a K that cannot, asks for them first if it can."""
    arch = find_arch("gfx1100")
    for bound in regions("iq4_nl"):
        assert choice_for(bound.region, arch).formats != "iq4_nl"
        assert (geometry(bound, arch, "decode")[-1].params.ahead is not None) == (bound.region.k <= INPUTS_FIRST)
    for bound in regions():
        ways = [way for way in candidates(bound, arch) if (way.split, way.outputs, way.numbers) == (2, 2, False)]
        assert [way.inputs_first for way in ways] == ([True, False] if bound.region.k <= INPUTS_FIRST else [False])
        made = [launches_as(bound, arch, way)[-1].params for way in ways]
        assert [params.ahead is not None for params in made] == [way.inputs_first for way in ways]


def test_other_formats_have_registers_for_two_outputs():
    shapes = {b.region.k: geometry(b, find_arch("gfx1100"), "decode")[-1].params.outputs for b in regions("q6_k")}
    assert max(shapes.values()) <= 2


def test_waves_do_not_share_what_one_takes_at_once():
    """The heads' products of latent attention have K of 128 to 512: three of four waves had nothing to do."""
    for bound in regions():
        for k, split in ((1024, {1}), (192, {1})):
            small = replace(bound, region=replace(bound.region, k=k, rotate=0))
            shapes = [s for s in geometry(small, find_arch("gfx1100"), "decode") if hasattr(s.params, "split")]
            assert shapes and {shape.params.split for shape in shapes} == split
