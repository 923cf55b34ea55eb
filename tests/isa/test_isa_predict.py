"""The timing model: what it replays is what was executed, and better hardware is never slower."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from harness import compile_hip
from model_reference import MODELS

from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.compiler import CompileOptions, compile_model
from hfc.isa.arena import Arena
from hfc.isa.launch import LaunchOptions, load_kernel
from hfc.isa.line import Line, line_of
from hfc.predict.cards import CARDS, described, find_cards
from hfc.predict.instructions import SGPR, UNITS, Instruction, _fill, unit_of
from hfc.predict.launch import predict, sample, site_of, spread
from hfc.predict.program import LaunchSampler, estimate
from hfc.predict.replay import ReplayedBlock, machine_of, replay
from hfc.predict.report import as_trace
from hfc.target.arch import ARCHS, find_arch
from hfc.target.links import link_of
from hfc.target.timing import SIMDS, timing_of

GFX1100, GFX906 = find_arch("gfx1100"), find_arch("gfx906")
RDNA = timing_of(GFX1100)
N = 256 * 64


# instructions


def line(text: str) -> Line:
    return line_of(0, text, (0,), "")


def decoded(text: str, arch=GFX1100) -> Instruction:
    record = Instruction()
    _fill(record, line(text), arch, timing_of(arch))
    return record


def registers(record: Instruction) -> tuple[list, list]:
    pick = lambda place, count: [tuple(place[i]) for i in range(count)]  # noqa: E731
    return pick(record.written, record.writes), pick(record.read, record.reads)


@pytest.mark.parametrize(
    "text, unit, written, read",
    [
        ("v_add_f32_e32 v1, v2, v3", "VALU", [(1, 1)], [(2, 1), (3, 1)]),
        ("v_fmac_f32_e32 v1, s2, v3", "VALU", [(1, 1)], [(SGPR + 2, 1), (3, 1), (1, 1)]),
        ("v_cmp_gt_u32_e32 vcc_lo, 5, v0", "VALU", [(SGPR + 106, 1)], [(0, 1)]),
        ("v_add_co_u32 v2, vcc_lo, s0, v2", "VALU", [(2, 1), (SGPR + 106, 1)], [(SGPR, 1), (2, 1)]),
        (
            "v_dual_mov_b32 v4, v5 :: v_dual_fmac_f32 v6, v7, v8",
            "VALU",
            [(4, 1), (6, 1)],
            [(5, 1), (7, 1), (8, 1), (6, 1)],
        ),
        ("v_mov_b32_e32 v1, -|v2|", "VALU", [(1, 1)], [(2, 1)]),
        ("s_cmp_eq_u32 s3, 0", "SALU", [], [(SGPR + 3, 1)]),
        ("global_load_b128 v[4:7], v[0:1], off offset:16", "LOAD", [], [(0, 2)]),
        ("global_store_b32 v0, v1, s[2:3]", "STORE", [], [(0, 1), (1, 1), (SGPR + 2, 2)]),
        ("ds_load_b64 v[0:1], v2", "LDS", [], [(2, 1)]),
        ("ds_store_b32 v0, v1", "LDS", [], [(0, 1), (1, 1)]),
        ("s_load_b64 s[4:5], s[0:1], 0x10", "SCALAR", [], [(SGPR, 2)]),
        ("s_barrier", "BARRIER", [], []),
        ("buffer_gl0_inv", "INVALIDATE", [], []),
    ],
)
def test_an_instruction_is_known_by_unit_and_registers(text, unit, written, read):
    record = decoded(text)
    assert UNITS[record.unit] == unit
    assert registers(record) == (written, read)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("s_waitcnt vmcnt(3)", (3, -1, -1)),
        ("s_waitcnt vmcnt(0) lgkmcnt(1)", (0, 1, -1)),
        ("s_waitcnt_vscnt null, 0x0", (-1, -1, 0)),
        ("s_wait_loadcnt 0x2", (2, -1, -1)),
        ("s_wait_loadcnt_dscnt 0x301", (3, 1, -1)),
        ("s_wait_kmcnt 0x0", (-1, 0, -1)),
    ],
)
def test_waits_say_what_may_be_in_flight(text, expected):
    record = decoded(text)
    assert UNITS[record.unit] == "WAIT"
    assert (record.wait_loads, record.wait_lds, record.wait_stores) == expected


def test_issue_times_follow_from_data_sheets():
    assert decoded("v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]").issue == 32
    assert decoded("v_wmma_f32_16x16x16_f16 v[0:7], v[8:11], v[12:15], v[0:7]", find_arch("gfx1201")).issue == 16
    assert decoded("v_mfma_f32_16x16x16_f16 v[0:3], v[4:5], v[6:7], v[0:3]", find_arch("gfx90a")).issue == 32
    assert decoded("v_exp_f32_e32 v0, v1").issue == 4 and decoded("v_exp_f32_e32 v0, v1", GFX906).issue == 16
    assert decoded("v_add_f32_e32 v0, v1, v2", GFX906).issue == 4
    assert unit_of("s_wait_alu") == unit_of("s_delay_alu") == "NONE"


# the replay, on traces made by hand


def run(
    entries, table, waves: int = 1, count: int = 1, resident: int = 1, dram=(), timing=RDNA, dram_cycles: float = 16.0
):
    block = ReplayedBlock(tuple(np.array(entries, np.uint64) for _ in range(waves)))
    return replay(machine_of(timing, 16, dram_cycles, dram), table, [block], count, resident, "made by hand")


def made(*texts):
    table = (Instruction * len(texts))()
    for record, text in zip(table, texts):
        _fill(record, line(text), GFX1100, RDNA)
    return table


def access(number: int, *lines: int) -> list[int]:
    return [number | len(lines) << 24, *lines]


def test_dependent_instructions_wait_and_others_do_not():
    table = made("v_add_f32_e32 v0, v0, v0", "v_add_f32_e32 v1, v2, v3")
    chain, free = run([0] * 1000, table), run([1] * 1000, table)
    assert chain.issued == free.issued == 1000
    assert chain.cycles == pytest.approx(5000, rel=0.1) and free.cycles == pytest.approx(1000, rel=0.4)
    together = run([0] * 1000, table, waves=20)  # five waves a SIMD fill the gaps
    assert together.cycles == pytest.approx(5000, rel=0.1) and together.valu_cycles == 20000


def test_a_line_from_memory_takes_its_share_of_the_bandwidth_once():
    table = made("global_load_b32 v0, v1, off", "s_waitcnt vmcnt(0)")
    first, region = 5000, (5000, 9000)
    lines = [entry for n in range(1000) for entry in access(0, first + n)] + [1]
    report = run(lines, table, dram=[region], dram_cycles=100.0)
    assert report.dram_lines == 1000 == report.l0_misses and report.l2_lines == 0
    assert report.cycles == pytest.approx(100 * 1000 + RDNA.dram_latency, rel=0.01)
    again = run([*lines, *lines], table, dram=[region], dram_cycles=100.0)
    assert again.dram_lines == 1000 and again.l2_lines + again.l0_hits == 1000
    outside = run(lines, table, dram_cycles=100.0)
    assert outside.dram_lines == 0 and outside.l2_lines == 1000 and outside.cycles < report.cycles / 10


def test_conflicts_in_lds_and_cache_invalidation_cost_time():
    table = made("ds_load_b32 v0, v1", "s_waitcnt lgkmcnt(0)", "global_load_b32 v0, v1, off", "buffer_gl0_inv")
    few = run([*access(0)] * 500 + [1], table)
    many = run([0 | 8 << 24] * 500 + [1], table)
    assert many.lds_cycles == 8 * few.lds_cycles and many.cycles > 3 * few.cycles
    kept = run(access(2, 7) * 50, table)
    lost = run((access(2, 7) + [3]) * 50, table)
    assert kept.l0_hits == 49 and lost.l0_hits == 0


def test_waves_that_take_each_others_lines_of_code_go_on():
    table = made("v_add_f32_e32 v0, v0, v0", "v_add_f32_e32 v0, v0, v0")
    table[1].address = 256 * 128  # the same place in the code cache
    block = ReplayedBlock((np.array([0, 1] * 50, np.uint64), np.array([1, 0] * 50, np.uint64)))
    report = replay(machine_of(RDNA, 16, 16.0, ()), table, [block], 1, 1, "x")
    assert report.issued == 200 and report.wait_code >= 100 * 200


def test_a_wave_has_no_more_accesses_on_their_way_than_its_counter_holds():
    table = made("global_load_b32 v0, v1, off", "s_waitcnt vmcnt(0)")
    lines = [entry for n in range(600) for entry in access(0, 9000 + n)]
    assert run([*lines, 1], table).cycles > 600 / 63 * RDNA.l2_latency


def test_waves_meet_at_barriers():
    table = made("s_barrier", "v_add_f32_e32 v0, v0, v0")
    block = ReplayedBlock((np.array([0, 1], np.uint64), np.array([1] * 500 + [0, 1], np.uint64)))
    report = replay(machine_of(RDNA, 16, 16.0, ()), table, [block], 1, 1, "x")
    assert report.issued == 504 and report.cycles > 2500
    never = ReplayedBlock((np.array([0, 1], np.uint64), np.array([0, 0, 1], np.uint64)))
    assert replay(machine_of(RDNA, 16, 16.0, ()), table, [never], 1, 1, "x").issued == 5, "who ended is not waited for"


# kernels


@pytest.fixture(scope="module")
def added():
    """c = a + b, every thread block traced."""
    arena = Arena([(name, 4 * N, True) for name in "abc"])
    for region in arena.regions:
        region.view[:] = 0
    loaded = load_kernel(compile_hip("basic", "gfx1100"), "vadd")
    arguments, grid = [*arena.regions, N], (N // 256, 1, 1)
    found = sample(loaded, GFX1100, grid, 256, arguments, dram=arena.regions[:2], count=N // 256)
    executed = loaded.launch(grid, 256, arguments, options=LaunchOptions()).instructions
    return found, executed


def all_of(found, timing=RDNA, dram_cycles=16.0):
    return replay(
        machine_of(timing, 16, dram_cycles, found.dram), found.table, found.blocks, found.total, 8, found.name
    )


def test_what_is_replayed_is_what_was_executed(added):
    found, executed = added
    report = all_of(found)
    assert report.issued == executed
    assert report.dram_lines == 2 * 4 * N // 128, "each line of both inputs once"
    assert predict(found, site_of(*CARDS["RX 7900 XTX"])).dram_bytes == pytest.approx(2 * 4 * N, rel=0.5)


def test_better_hardware_is_never_slower(added):
    found, _ = added
    times = lambda values, change: [all_of(found, **change(value)).cycles for value in values]  # noqa: E731
    for field in ("l0_latency", "l2_latency", "dram_latency", "scalar_latency"):
        cycles = times((50, 200, 800), lambda value, field=field: {"timing": replace(RDNA, **{field: value})})
        assert all(a <= b for a, b in pairwise(cycles)), (field, cycles)
        assert cycles[0] < cycles[-1] or field in ("l0_latency", "l2_latency"), "every line comes from memory"
    cycles = times((4.0, 16.0, 64.0), lambda value: {"dram_cycles": value})
    assert cycles[0] < cycles[1] < cycles[2]
    site = site_of(*CARDS["RX 7900 XTX"])
    seconds = [predict(found, replace(site, units=units)).seconds for units in (2, 8, 32)]
    assert seconds[0] > seconds[1] >= seconds[2]
    assert predict(found, replace(site, gb_s=480)).seconds > predict(found, site).seconds
    assert predict(found, replace(site, ghz=3.0)).seconds < predict(found, site).seconds


def test_blocks_are_taken_from_all_over_the_grid():
    assert spread((4, 1, 1), 8) == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    assert spread((10, 10, 10), 2) == [(0, 5, 2), (0, 5, 7)]


# models and cards


def test_cards_are_found_by_name_and_architecture():
    assert [card.name for _, card in find_cards("rx 7900 xtx")] == ["RX 7900 XTX"]
    assert {card.name for _, card in find_cards("gfx1201")} >= {"RX 9070 XT", "RX 9070"}
    with pytest.raises(HfcError, match="did you mean 'RX 7900 XT'"):
        find_cards("RX 7900 XTZ")
    for arch, card in CARDS.values():
        assert timing_of(arch).lds_bytes >= arch.lds_bytes and site_of(arch, card).units * SIMDS > 0
    site = described(*CARDS["RX 7900 XTX"], 60, 2.0, 500.0)
    assert (site.units, site.ghz, site.gb_s) == (30, 2.0, 500.0)
    with pytest.raises(HfcError, match="hfc bench"):
        timing_of(find_arch("sm_90"))


def small(name: str):
    return compile_model(MODELS / name, ["gfx1100"], CompileOptions(ctx=64, max_rows=32))


@pytest.fixture(scope="module")
def bundle():
    return small("llama")


@pytest.mark.parametrize("name", ["llama", pytest.param("qwen3_5_moe_text", marks=pytest.mark.long)])
def test_a_whole_program_is_predicted(name, request):
    bundle = request.getfixturevalue("bundle") if name == "llama" else small(name)
    sampler, site = LaunchSampler(bundle, "gfx1100", blocks=1), site_of(*CARDS["RX 7900 XTX"])
    calls = sampler.calls(1, 40)
    found = estimate(calls, site)
    assert found.count == len(calls.order) == sum(call.count for call in calls.distinct)
    assert found.seconds == pytest.approx(found.kernel_seconds + found.count * 2.2e-6)
    assert found.tokens_per_second == pytest.approx(1 / found.seconds)
    slices = [e for e in as_trace([("card", site, [found])])["traceEvents"] if e["ph"] == "X"]
    assert len(slices) == found.count
    assert slices[-1]["ts"] + slices[-1]["dur"] + 2.2 == pytest.approx(found.seconds * 1e6)


def test_the_command_prints_tables_json_and_traces(bundle, tmp_path, capfd):
    bundle.save(tmp_path / "m.hfp")

    def hfc(*words, command="predict"):
        with pytest.raises(SystemExit) as end:
            main([command, *map(str, words)])
        return (end.value.code or 0, *capfd.readouterr())

    options = (tmp_path / "m.hfp", "-p", 20, "-n", 2, "--blocks", 1)
    code, out, _ = hfc(*options, "--card", "gfx1100", "--json", "--trace", tmp_path / "t.json")
    assert code == 0
    cards = json.loads(out)
    assert [card["card"] for card in cards] == [card.name for card in GFX1100.cards]
    assert [step["program"] for step in cards[0]["steps"]] == ["prefill", "decode"]
    assert [step["absolute"] for step in cards[0]["steps"]] == [False, True]
    for step in cards[0]["steps"]:
        launches = sum(launch["us"] * launch["times"] for launch in step["launches"])
        assert launches == pytest.approx(step["kernel_us"], abs=1)
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    code, out, _ = hfc(*options, "-p", 0, "--card", "RX 7900 XTX", "--gb-s", 300)
    assert code == 0 and "300 GB/s" in out and "tok/s" in out and "latency" in out
    for words, message in (
        (("--card", "gfx906"), "no plan for gfx906"),
        (("--card", "RX 9999"), "RX"),
        ((), "--card"),
        (("--card", "gfx1100", "-n", 500), "context of 64"),
    ):
        code, _, err = hfc(*options, *words)
        assert code == 2 and message in err, err
    assert "RX 9070 XT" in hfc("--cards")[1]
    code, out, _ = hfc(tmp_path / "m.hfp", "--card", "RX 7900 XT", command="explain")
    assert code == 0 and "RX 7900 XT: decode of 1 token(s) at context 32" in out
    code, out, _ = hfc(MODELS / "llama", "--card", "RX 7600", command="fit")
    assert code == 0 and "fits 8 GiB; how fast it is: hfc predict" in out


def test_ranks_meet_and_read_each_other(tmp_path, capfd):
    """What a step of two ranks exchanges is counted from the plan, and its time added to one rank's."""
    options = CompileOptions(ctx=64, slots=1, max_rows=32, tensor_parallel=2)
    compile_model(MODELS / "llama", ["gfx1100"], options).save(tmp_path / "two.hfp")

    def hfc(*words):
        with pytest.raises(SystemExit) as end:
            main(["predict", str(tmp_path / "two.hfp"), "-p", "0", "-n", "1", "--blocks", "1", *words])
        return (end.value.code or 0, *capfd.readouterr())

    code, out, err = hfc("--card", "RX 7900 XTX", "--json")
    assert code == 0, err
    (exchange,) = json.loads(out)[0]["exchanges"]
    hidden, vocabulary = 64, 128
    assert (exchange["ranks"], exchange["meetings"]) == (2, 5)  # twice a layer, and the logits
    assert exchange["bytes"] == 4 * (4 * hidden + vocabulary // 2)
    assert exchange["link"]["name"] == "PCIe 4.0 x16"
    code, out, _ = hfc("--card", "RX 7900 XTX", "--link-gb-s", "10")
    assert code == 0 and "they meet 5 times, 22 us each as on two H200s" in out and "at 10.0 GB/s at most" in out
    assert hfc("--card", "RX 7900 XTX", "-tp", "4")[0] == 2


def test_every_architecture_has_a_link_to_another_card():
    assert all(link_of(arch).source for arch in ARCHS.values() if arch.platform.is_gpu and arch.name != "sm_90")
    with pytest.raises(HfcError, match="sm_90: how cards of it reach each other is not known"):
        link_of(find_arch("sm_90"))
