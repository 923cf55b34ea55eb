"""Gates on small assembly texts that break each of them, and on every kernel of the suite for every architecture."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hip_cases import CASES, CONTEXT, MAX_ROWS, SLOTS, delta, linear

from hfc.backend import gates
from hfc.backend.assembly import accesses, loop_lines
from hfc.backend.compile import KernelJob, Resources, compile_all, compile_job, read_resources
from hfc.backend.gates import INSTRUCTIONS, Contract, broken, contract_for
from hfc.backend.gpu import kernel_job
from hfc.backend.skeleton import ROWS_CLASSES
from hfc.backend.skeletons import SKELETONS, geometry
from hfc.backend.template import LITTLE_WORK
from hfc.base.diagnostics import HfcError
from hfc.formats import FORMATS
from hfc.passes.settings import Settings
from hfc.target.arch import FEATURES, GPUS, find_arch

BACKEND = Path(gates.__file__).parent
TEMPLATES = [made for skeleton in SKELETONS.values() for made in skeleton.templates]
GOOD = Resources(vgprs=40, agprs=0, sgprs=20, lds_bytes=1024, scratch_bytes=0, spills=0, occupancy=16)

LOOP = """
kernel:
	s_load_b64 s[0:1], s[0:1], 0x0
	{before}
.LBB0_1:                                ; =>This Inner Loop Header: Depth=1
	global_load_b128 v[0:3], v[4:5], off
	{inside}
	v_fmac_f32_e32 v0, v1, v2
	s_cbranch_scc1 .LBB0_1
; %bb.2:
	{after}
	global_store_b32 v[4:5], v0, off
	s_endpgm
"""
PTX = """
$L__BB0_1:
	ld.global.v4.f32 	{%f1, %f2, %f3, %f4}, [%rd1];
	@%p2 {inside}
	@%p1 bra 	$L__BB0_1;
	ret;
"""


def loop(**parts: str) -> str:
    return LOOP.format(**{"before": "s_nop 0", "inside": "s_nop 0", "after": "s_nop 0", **parts})


def gates_broken(text: str, resources: Resources = GOOD, arch: str = "gfx1100", contract: Contract = gates.UNIVERSAL):
    return [b.gate for b in broken(text, resources, find_arch(arch), contract)]


def settings(arch) -> Settings:
    return Settings(arch, CONTEXT, SLOTS, MAX_ROWS, MAX_ROWS, "f16", "f16")


def suite(bounds, arch) -> list[KernelJob]:
    """Every kernel that the regions need on `arch`, with its contract."""
    shapes = [(bound, shape) for bound in bounds for rows in ROWS_CLASSES for shape in geometry(bound, arch, rows)]
    return list({shape.symbol: kernel_job(bound, shape, settings(arch)) for bound, shape in shapes}.values())


@pytest.mark.parametrize(
    "change, gate",
    [
        ({"scratch_bytes": 16}, "scratch"),
        ({"spills": 3}, "spills"),
        ({"lds_bytes": 65537}, "lds"),
        ({"vgprs": 256, "occupancy": 5}, "lanes"),
    ],
)
def test_figures_over_the_limit_break_their_gate(change, gate):
    contract = contract_for(LITTLE_WORK, find_arch("gfx1100"))
    assert contract.waves == 8
    assert gates_broken(loop(), contract=contract) == []
    assert gates_broken(loop(), Resources(**{**vars(GOOD), **change}), contract=contract) == [gate]


@pytest.mark.parametrize(
    "inside", ["flat_load_b32 v6, v[4:5]", "flat_store_b32 v[4:5], v6", "flat_load_dword v6, v[4:5]"]
)
def test_flat_accesses_break_the_gate_only_in_loops(inside):
    assert gates_broken(loop(inside=inside)) == ["flat"]
    assert gates_broken(loop(before=inside, after=inside)) == []


@pytest.mark.parametrize(
    "inside, size",
    [
        ("global_load_u8 v6, v[4:5], off", 1),
        ("global_load_ushort v6, v[4:5], off", 2),
        ("global_load_d16_hi_b16 v6, v[4:5], off", 2),
    ],
)
def test_narrow_loads_break_the_gate_only_in_loops(inside, size):
    assert gates_broken(loop(inside=inside), contract=Contract(narrowest=4)) == ["loads"]
    assert gates_broken(loop(inside=inside), contract=Contract(narrowest=size)) == []
    assert gates_broken(loop(before=inside, after=inside), contract=Contract(narrowest=4)) == []


@pytest.mark.parametrize("inside, gate", [("ld.f32 %f5, [%rd2];", "flat"), ("ld.global.nc.u8 %rs1, [%rd2];", "loads")])
def test_ptx_is_read_too(inside, gate):
    text, contract = PTX.replace("{inside}", inside), Contract(narrowest=4)
    assert gates_broken(text, arch="sm_90", contract=contract) == [gate]
    assert gates_broken(PTX.replace("{inside}", "ld.shared.u8 %rs1, [%r2];"), arch="sm_90", contract=contract) == []


@pytest.mark.parametrize(
    "stored, gates_that_break",
    [("b8 \t[%rd1], %rs1", ["halves"]), ("b16 \t[%rd1], %rs1", []), ("b8 \t[%rd1], %rs2", [])],
)
def test_a_byte_of_a_half_is_not_stored_where_ptxas_would_round_the_half(stored, gates_that_break):
    text = f"\tcvt.rn.f16.f32 \t%rs1, %f1;\n\tshr.u16 \t%rs2, %rs1, 8;\n\tst.global.{stored};\n"
    assert gates_broken(text, arch="sm_90") == gates_that_break


@pytest.mark.parametrize(
    "feature, instruction",
    [
        ("dot4_i8", "v_dot4_i32_iu8 v0, v1, v2, v3 neg_lo:[1,1,0]"),
        ("sdot4", "v_dot4c_i32_i8_e32 v0, v1, v2"),
        ("dot4_i8", "dp4a.s32.s32 %r4, %r1, %r2, %r3;"),
        ("wmma_f16", "v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]"),
        ("mfma_f16", "v_mfma_f32_16x16x16f16 a[0:3], v[0:1], v[2:3], a[0:3]"),
        ("mma_f16", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2}, {%r1}, {%r2}, {%f1, %f2};"),
    ],
)
def test_a_promised_instruction_must_be_there(feature, instruction):
    contract = contract_for(LITTLE_WORK, find_arch("gfx1100"), uses=(feature,))
    assert gates_broken(loop(inside=instruction), contract=contract) == []
    assert gates_broken(loop(), contract=contract) == ["promises"]


def test_a_loop_is_what_a_branch_repeats():
    numbers = [number for number, _ in loop_lines(loop())]
    lines = loop().splitlines()
    assert "global_load_b128" in lines[numbers[0] - 1] and "s_cbranch" in lines[numbers[-1] - 1]
    assert loop_lines(loop().replace("s_cbranch_scc1 .LBB0_1", "s_cbranch_scc1 .LBB0_9")) == []
    found = accesses(loop_lines(loop(inside="ds_load_b64 v[0:1], v6")), "amdgcn")
    assert [(a.space, a.size, a.is_load) for a in found] == [("global", 16, True), ("ds", 8, True)]


BYTES = """extern "C" __attribute__((global)) void {name}(const unsigned char* x, float* y, int n) {{
  float sum = 0.0f;
  for (int i = 0; i < n; i++) sum += x[i * 3 + __builtin_amdgcn_workitem_id_x()];
  y[__builtin_amdgcn_workitem_id_x()] = sum;
}}
"""
FLAT = """extern "C" __attribute__((global)) void {name}(float* x, float* y, int n) {{
  __attribute__((shared)) float all[64];
  const int lane = __builtin_amdgcn_workitem_id_x();
  all[lane] = x[lane];
  float sum = 0.0f;
  for (int i = 0; i < n; i++) {{
    float* from = (i & 1) ? all + i % 64 : x + i;
    sum += *(volatile float*)from;
  }}
  y[lane] = sum;
}}
"""


@pytest.mark.parametrize("arch", ["gfx906", "gfx1030", "gfx1100", "gfx1201"])
def test_compiled_kernels_break_gates(arch):
    narrow = KernelJob("bytes", BYTES.format(name="bytes"), find_arch(arch), Contract(narrowest=4))
    with pytest.raises(HfcError, match=rf"kernel bytes for {arch}: \d+ global_load_u\w+ .*loads of 4 bytes or more"):
        compile_job(narrow)
    with pytest.raises(HfcError, match=rf"kernel flat for {arch}: \d+ flat_load_\w+ .*in a loop.*address space"):
        compile_job(KernelJob("flat", FLAT.format(name="flat"), find_arch(arch)))


def test_the_error_names_kernel_arch_figure_limit_and_what_would_fit():
    arch, bound = find_arch("gfx1030"), linear(["q4_k", "q4_k"], 512, [64, 64], zipped=True)
    shape = geometry(bound, arch, "prefill")[-1]
    job = kernel_job(bound, shape, settings(arch))
    used = compile_job(job).resources
    tight = KernelJob(job.name, job.source, arch, Contract(waves=used.occupancy + 1), job.smaller)
    with pytest.raises(HfcError) as caught:
        compile_job(tight)
    message = str(caught.value)
    assert f"kernel {shape.symbol} for gfx1030: {used.vgprs} vector registers" in message
    assert f"the limit is at least {used.occupancy + 1}" in message
    assert re.search(r"would fit: .*(tile_rows 32 instead of 64|tile_rows 64 instead of 128)", message), message


# One of each generation in the ordinary run: `hfc matrix --quick` compiles for every architecture, and each kernel meets the gates there too.
ORDINARY = ("gfx906", "gfx942", "gfx1030", "gfx1100", "gfx1201", "sm_90")
ALONE = [pytest.param(arch, id=arch.name, marks=() if arch.name in ORDINARY else pytest.mark.long) for arch in GPUS]
PARTS = 6  # of the kernel suite: the ordinary run compiles one of them for each of these architectures, in turn


@pytest.mark.sampled(6 * PARTS)
@pytest.mark.parametrize("arch", ALONE)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_kernel_suite_keeps_every_gate(part, arch):
    for made in compile_all(suite(CASES[part::PARTS], arch)):
        assert re.search(rf"\b{made.name}\b", made.assembly)
        assert read_resources(made.assembly, arch) == made.resources
        if arch.platform.has_registers:
            assert made.data[:4] == b"\x7fELF"
            assert made.resources.vgprs > 0 and made.resources.occupancy >= 1
            other = re.search(r"\b(flat|scratch|buffer)_(load|store)", made.assembly)
            assert not other, f"{made.name}: not a global access"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", range(PARTS))
def test_kernels_that_start_early_read_nothing_before_they_wait(part):
    """But for those that ask for weights or states meanwhile, which no other kernel of a step writes."""
    arch, meanwhile = find_arch("sm_90"), ("skinny_row", "skinny_rows", "delta_parts")
    bounds = CASES[part::PARTS]
    shapes = [shape for bound in bounds for rows_class in ROWS_CLASSES for shape in geometry(bound, arch, rows_class)]
    early = {shape.symbol for shape in shapes if shape.template.name in meanwhile}
    for made in compile_all(suite(bounds, arch)):
        before, wait, _ = made.assembly.partition("griddepcontrol.wait")
        assert wait and ("ld.global" not in before or made.name in early), made.name


def test_products_of_warpgroups_keep_the_gates():
    for formats, k, sizes, zipped in (
        (["q4_k", "q4_k"], 512, [70, 70], True),
        (["mq4g256", "bf16"], 512, [130, 3], False),
    ):
        bound = linear(formats, k, sizes, zipped)
        bound = replace(bound, region=replace(bound.region, single_product=True))
        for made in compile_all(suite([bound], find_arch("sm_90"))):
            assert (
                "_warpgroup" not in made.name
                or "wgmma.mma_async" in made.assembly
                and ".target sm_90a" in made.assembly
            )
        assert any("_warpgroup" in shape.symbol for shape in geometry(bound, find_arch("sm_90"), "prefill"))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name, product", [("q4_k", "m16n8k32"), ("q6_k", "m16n8k16"), ("mq4g256", "m16n8k32")])
def test_decode_multiplies_bytes_where_the_profile_lets_inputs_be_rounded(name, product):
    """Groups of 32 elements and more take products of 32, those of 16 products of 16, but for one row, whose columns tell them apart;
    in `exact`, and of plain weights, pairs of f16."""
    arch, bound = find_arch("sm_90"), linear([name], 512, [20])
    for fast in (True, False):
        chosen = replace(bound, region=replace(bound.region, single_product=fast))
        for made in compile_all(suite([chosen], arch)):
            if made.name == bound.name or "_rows" in made.name:
                of_bytes = rf"{product if '_rows' in made.name else 'm16n8k32'}\S*\.s32\.[su]8\.s8\.s32"
                products = set(re.findall(r"mma\.sync\S*?(m16n8k\S*)", made.assembly))
                wanted = of_bytes if fast else r"m16n8k16\S*\.f16"
                assert products and all(re.match(wanted, found) for found in products), (made.name, products)
                assert "switch.table" not in made.assembly, f"{made.name}: a choice of places became a table in memory"
    plain = linear(["bf16"], 512, [20])
    plain = replace(plain, region=replace(plain.region, single_product=True))
    assert {shape.promises for shape in geometry(plain, arch, "decode") if "skinny_row" in shape.template.name} == {
        ("mma_f16",)
    }


def test_inputs_of_bytes_take_half_the_products_of_bytes():
    """Profile "turbo": whole numbers of 8 bits instead of 16, one MMA for each operand of weights instead of two."""
    arch, bound, counts = find_arch("sm_90"), linear(["q4_k"], 512, [20]), {}
    for turbo in (False, True):
        chosen = replace(bound, region=replace(bound.region, single_product=True, byte_inputs=turbo))
        for made in compile_all(suite([chosen], arch)):
            counts.setdefault(made.name, []).append(made.assembly.count("mma.sync"))
    assert {name: few * 2 for name, (_, few) in counts.items() if few} == {
        name: many for name, (many, _) in counts.items() if many
    }


@pytest.mark.sampled(72)
@pytest.mark.parametrize("arch", ("gfx906", "gfx1030", "gfx1100", "sm_90"))
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_every_gate(name, arch):
    bounds = [
        linear([name], 8448, [20]),  # inputs in several tiles
        linear([name, name], 8448, [20, 20], zipped=True),
        linear([name], 512, [20], top=2),
    ]
    if arch == "sm_90":  # as its default profile has them
        bounds = [replace(bound, region=replace(bound.region, single_product=True)) for bound in bounds]
    assert compile_all(suite(bounds, find_arch(arch)))


# Sizes of models decide tiles, and tiles registers: K, outputs of each part, zipped, experts of a row.
SIZES = {
    "DeltaNet's projections, 9B": (4096, [8192, 4096, 32, 32], False, 0),
    "gate and up, 9B": (4096, [12288] * 2, True, 0),
    "gate and up, 4B": (2560, [9728] * 2, True, 0),
    "down, 9B": (12288, [4096], False, 0),
    "gate and up, 27B": (5120, [17408] * 2, True, 0),  # the largest K whose inputs come before weights
    "queries, keys and values, 4B": (2560, [4096, 1024, 1024], False, 0),
    "experts' gate and up, 35B": (2048, [512] * 2, True, 8),
    "experts' down, 35B": (512, [2048], False, 8),
}
TIGHT = {  # what once spilled
    ("DeltaNet's projections, 9B", "q6_k", "gfx1100"),
    ("gate and up, 4B", "q5_k", "gfx1010"),
    ("gate and up, 9B", "hfc4", "gfx1010"),
}
SIZED = [
    pytest.param(*case, marks=() if case in TIGHT else pytest.mark.long)
    for case in itertools.product(SIZES, FORMATS, ("gfx906", "gfx1010", "gfx1030", "gfx1100", "gfx1201", "gfx942"))
    if SIZES[case[0]][0] % FORMATS[case[1]].block == 0
]


@pytest.mark.parametrize("size, name, arch", SIZED)
def test_every_format_keeps_every_gate_at_the_sizes_of_models(size, name, arch):
    k, outputs, zipped, top = SIZES[size]
    assert compile_all(suite([linear([name] * len(outputs), k, outputs, zipped=zipped, top=top)], find_arch(arch)))


@pytest.mark.parametrize("arch", ("gfx906", pytest.param("gfx908", marks=pytest.mark.long)))
@pytest.mark.parametrize("heads", [(16, 32), (16, 48)], ids=["9B", "27B"])
def test_several_value_heads_to_a_key_keep_every_gate_where_registers_are_scarce(heads, arch):
    assert compile_all(suite([delta(*heads, 128, 128, 4, True)], find_arch(arch)))


def test_the_tables_are_whole():
    files = {path.relative_to(BACKEND).as_posix() for path in BACKEND.glob("skeletons/**/*.hip.j2")}
    assert files == {made.file for made in TEMPLATES}, "a template is declared by the skeleton in whose folder it lies"
    assert all(made.limits.why for made in TEMPLATES)
    allowed = [row for made in TEMPLATES for row in made.limits.allowances]
    assert allowed and all(row.reason and row.gate in ("lanes", "loads") for row in allowed)
    assert all(hasattr(made.params, "__dataclass_fields__") for made in TEMPLATES)
    assert all(name in made.params.__dataclass_fields__ for made in TEMPLATES for name in made.limits.tunables)
    probed = {
        name
        for name in FEATURES
        if not name.startswith("wmma_replicated") and name not in ("wmma_split", "graphs", "rocblas")
    }
    assert probed <= INSTRUCTIONS.keys()
    with pytest.raises(AssertionError, match="no instruction is known"):
        gates_broken(loop(), contract=Contract(promises=("dot9",)))
