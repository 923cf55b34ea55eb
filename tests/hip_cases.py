"""Hand-made bound regions with awkward sizes, one or more for each stem: what the GPU kernel tests compile.

Pointers: x inputs, w weights, y outputs, s states; every argument's value knows its type.
"""

from hfc.backend.skeletons.adopt.bind import adopt_bound
from hfc.backend.skeletons.attend.region import AttendRegion
from hfc.backend.skeletons.choose.region import ChooseRegion
from hfc.backend.skeletons.conv.region import ConvRegion
from hfc.backend.skeletons.delta.region import DeltaRegion
from hfc.backend.skeletons.entries.region import CacheRead, EntriesRegion
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.skeletons.map.region import MapRegion, Task
from hfc.backend.skeletons.pool.region import PoolRegion
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.skeletons.sinkhorn.region import SinkhornRegion
from hfc.backend.spec import Arg, Bound, Stat
from hfc.formats import kv_format, weight_format
from hfc.ir.graph import TensorType, Value

CONTEXT, SLOTS, MAX_ROWS = 48, 2, 16
EPS = "1e-06f"


def arg(name: str, kind: str, *shape: int | str, dtype: str = "f32", plane: str = "", written: bool = False) -> Arg:
    ctype = {"f32": "float", "i32": "int32_t"}.get(dtype, "uint8_t")
    return Arg(name, kind, ctype, Value(name, TensorType(dtype, shape)), plane, written)


def linear(
    formats: list[str], k: int, sizes: list[int], zipped: bool = False, norm: bool = True, top: int = 0
) -> Bound:
    """y = norm(x) wᵀ; zipped: one y = y0 · sigmoid(y1)."""
    x, weights = arg("x0", "buffer", "T", k), []
    experts = arg("x1", "buffer", "T", top, dtype="i32") if top else None
    lead = (5,) if top else ()
    for i, (name, n) in enumerate(zip(formats, sizes)):
        weights.append(arg(f"w{i}", "weight", *lead, n, k, dtype=name))
    outputs = [arg(f"out{i}", "buffer", "T", n, written=True) for i, n in enumerate(sizes[: 1 if zipped else None])]
    row = f"(row / {top})" if top else "row"
    norms = (
        Stat("stat0", k, "sum", f"x0[{row} * {k} + j] * x0[{row} * {k} + j]", f"hfc_rsqrt(r / {float(k)}f + {EPS})"),
    )
    stores = [f"out{i}[(size_t)row * {n} + n] = y;" for i, n in enumerate(sizes)]
    parts = [Matrix(w, weight_format(f), n, "" if zipped else s) for w, f, n, s in zip(weights, formats, sizes, stores)]
    region = LinearRegion(
        k=k,
        parts=tuple(parts),
        zipped=zipped,
        store=f"out0[(size_t)row * {sizes[0]} + n] = y0 * hfc_sigmoid(y1);" if zipped else "",
        load=f"x0[{row} * {k} + j]" + (" * stat0" if norm else ""),
        stats=norms if norm else (),
        reads=(f"x0[{row} * {k} + j]",),
        rotate=256 if any(part.format.rotated for part in parts) else 0,
        top=top,
        experts=experts,
        expert_count=5 if top else 0,
        token_inputs=top > 0,
    )
    name = "_".join(
        ["linear", *formats, f"k{k}", *(f"n{n}" for n in sizes)] + ["zipped"] * zipped + [f"top{top}"] * (top > 0)
    )
    return Bound("linear", name, (x, *([experts] if top else []), *weights, *outputs), "T", region)


def softmax_map(groups: int, size: int) -> Bound:
    """Task 1: softmax of each group.  Task 2: a copy, doubled, without a reduction."""
    place = f"row * {groups * size} + g * {size} + j"
    stats = (
        Stat("stat0", size, "max", f"x0[{place}]", "r"),
        Stat("stat1", size, "sum", f"hfc_exp(x0[{place}] - stat0)", "1.0f / r"),
    )
    tasks = [
        Task(groups, size, stats, f"out0[{place}] = hfc_exp(x0[{place}] - stat0) * stat1;"),
        Task(1, groups * size, (), f"out1[row * {groups * size} + j] = x0[row * {groups * size} + j] * 2.0f;"),
    ]
    args = [arg("x0", "buffer", "T", groups, size)] + [
        arg(f"out{i}", "buffer", "T", groups, size, written=True) for i in (0, 1)
    ]
    return Bound("map", f"softmax_g{groups}_s{size}", tuple(args), "T", MapRegion(tuple(tasks)))


def attend(
    heads: int,
    kv_heads: int,
    size: int,
    window: int = 0,
    softcap: float = 0.0,
    formats=("f16", "f32"),
    causal: bool = True,
    capacity: int = CONTEXT,
    sinks: bool = False,
    slopes: bool = False,
) -> Bound:
    planes = [arg(f"s_{p}", "state", "S", kv_heads, "C", size, dtype="kv", plane=p) for p in "kv"]
    keys, values = (kv_format(name).sized(size) for name in formats)
    at = f"x0[row * {heads * size} + g * {size} + "
    query = f"hfc_kv_{keys.name}_rotate_pair(j, {at}j], {at}(j ^ 1)])" if keys.rotates_pairs else f"{at}j]"
    region = AttendRegion(
        heads=heads,
        kv_heads=kv_heads,
        size=size,
        capacity=capacity,
        scale=size**-0.5,
        window=window,
        softcap=softcap,
        causal=causal,
        first=0,
        q=query,
        walsh=keys.walsh,
        k=planes[0],
        v=planes[1],
        k_format=keys,
        v_format=values,
        store=f"out0[row * {heads * size} + g * {size} + j] = y;",
        sink="w_sinks[g]" if sinks else "",
        slope="w_slopes[g]" if slopes else "",
    )
    more = [arg(name, "weight", heads) for name, has in (("w_sinks", sinks), ("w_slopes", slopes)) if has]
    args = [
        arg("x0", "buffer", "T", heads, size),
        *planes,
        *more,
        arg("out0", "buffer", "T", heads, size, written=True),
    ]
    name = f"attend_h{heads}_{kv_heads}_d{size}_w{window}_c{int(softcap)}" + "_block" * (not causal)
    return Bound("attend", name, tuple(args), "T", region)


def delta(k_heads: int, v_heads: int, dk: int, dv: int, taps: int, tiled: bool) -> Bound:
    """The output is normed and scaled, as after a DeltaNet."""
    channels = 2 * k_heads * dk + v_heads * dv
    window = arg("s_window", "state", "S", channels, taps - 1, written=True)
    memory = arg("s_memory", "state", "S", v_heads, dk, dv, written=True)
    conv = arg("w0", "weight", channels, taps)
    region = DeltaRegion(
        k_heads=k_heads,
        v_heads=v_heads,
        dk=dk,
        dv=dv,
        taps=taps,
        channels=channels,
        tiled=tiled,
        u=f"x0[row * {channels} + j]",
        conv=conv,
        activate="hfc_silu(c)",
        eps=1e-6,
        q_scale=dk**-0.5,
        decay=f"-hfc_softplus(x1[row * {v_heads} + g])",
        beta=f"hfc_sigmoid(x2[row * {v_heads} + g])",
        window=window,
        memory=memory,
        q0=0,
        k0=k_heads * dk,
        v0=2 * k_heads * dk,
        stats=(Stat("stat0", dv, "sum", "y[j] * y[j]", f"hfc_rsqrt(r / {float(dv)}f + {EPS})"),),
        store=f"out0[row * {v_heads * dv} + g * {dv} + j] = y[j] * stat0;",
        journal=None,
    )
    args = [arg("x0", "buffer", "T", channels), arg("x1", "buffer", "T", v_heads), arg("x2", "buffer", "T", v_heads)]
    args += [conv, window, memory, arg("out0", "buffer", "T", v_heads, dv, written=True)]
    return Bound("delta", f"delta_{k_heads}_{v_heads}_{dk}x{dv}_t{taps}" + "_tiled" * tiled, tuple(args), "T", region)


def route(experts: int, top: int, biased: bool = False, **attrs) -> Bound:
    weights = arg("out0", "buffer", "T", top, written=True)
    ids = arg("out1", "buffer", "T", top, dtype="i32", written=True)
    args = [arg("x0", "buffer", "T", experts), arg("w0", "weight", experts), weights, ids]
    region = RouteRegion(
        experts=experts,
        top=top,
        logits=f"x0[row * {experts} + j]",
        bias="w0[j]" if biased else "",
        by_logits=not biased,
        weights=weights,
        ids=ids,
        **attrs,
    )
    return Bound("route", f"route_{top}of{experts}", tuple(args), "T", region)


def sinkhorn(size: int) -> Bound:
    out = arg("out0", "buffer", "T", size, size, written=True)
    region = SinkhornRegion(size, 20, 1e-6, f"x0[(row * {size} + g) * {size} + j]", out)
    return Bound("sinkhorn", f"sinkhorn_n{size}", (arg("x0", "buffer", "T", size, size), out), "T", region)


def conv(channels: int, taps: int) -> Bound:
    weight, window = (
        arg("w0", "weight", channels, taps),
        arg("s_window", "state", "S", channels, taps - 1, written=True),
    )
    region = ConvRegion(
        channels=channels,
        taps=taps,
        u=f"x0[row * {channels} + j]",
        conv=weight,
        window=window,
        store=f"out0[row * {channels} + j] = c;",
        journal_rows=0,
        inputs_journal=None,
    )
    args = [arg("x0", "buffer", "T", channels), weight, window, arg("out0", "buffer", "T", channels, written=True)]
    return Bound("conv", f"conv_{channels}_t{taps}", tuple(args), "T", region)


def pool(size: int, runs: int, every: int) -> Bound:
    width, rows = runs * size, runs * every + 16
    bias, kept = arg("w0", "weight", every, width), arg("s_kept", "state", "S", rows, 2 * width, written=True)
    value, gate = f"x0[row * {width} + j]", f"x1[row * {width} + j]"
    region = PoolRegion(size, runs, every, rows, value, gate, bias, kept, f"out0[row * {size} + j] = y;")
    args = [arg(f"x{i}", "buffer", "T", width) for i in (0, 1)]
    return Bound(
        "pool",
        f"pool_{size}_{runs}x{every}",
        (*args, bias, kept, arg("out0", "buffer", "T", size, written=True)),
        "T",
        region,
    )


def choose(heads: int, size: int, top: int, every: int, format: str = "f16") -> Bound:
    keys, ids = kv_format(format).sized(size), arg("out0", "buffer", "T", top, dtype="i32", written=True)
    cache = arg("s_k", "state", "S", 1, "C", size, dtype="kv", plane="k")
    query, weight = f"x0[row * {heads * size} + g * {size} + j]", f"x1[row * {heads} + g]"
    region = ChooseRegion(heads, size, top, every, -(-CONTEXT // every), query, weight, cache, keys, keys.walsh, ids)
    args = arg("x0", "buffer", "T", heads, size), arg("x1", "buffer", "T", heads), cache, ids
    return Bound("choose", f"choose{top}_h{heads}_d{size}", args, "T", region)


def entries(heads: int, size: int, window: int, every: int, top: int = 0, format: str = "f16") -> Bound:
    form, reads, planes = kv_format(format).sized(size), [], []
    for name in ("entries", "near"):
        own = [arg(f"s_{name}_{p}", "state", "S", 1, "C", size, dtype="kv", plane=p) for p in "kv"]
        places = -(-CONTEXT // every) if name == "entries" else CONTEXT
        reads.append(CacheRead(*own, places, form, form, f"x0[row * {heads * size} + g * {size} + j]", form.walsh))
        planes += own
    sinks, ids = arg("w0", "weight", heads), arg("x1", "buffer", "T", top, dtype="i32")
    region = EntriesRegion(
        heads=heads,
        kv_heads=1,
        size=size,
        scale=size**-0.5,
        window=window,
        every=every,
        top=top,
        near=reads[1] if window else None,
        entries=reads[0],
        chosen=f"x1[row * {top} + i]" if top else "",
        sink="w0[g]",
        store=f"out0[row * {heads * size} + g * {size} + j] = y;",
    )
    out = arg("out0", "buffer", "T", heads, size, written=True)
    args = [arg("x0", "buffer", "T", heads, size), *([ids] if top else []), *planes, sinks, out]
    return Bound("entries", f"entries_h{heads}_d{size}_w{window}", tuple(args), "T", region)


CASES = (
    linear(["f32"], 37, [11]),
    linear(["bf16", "f16"], 130, [70, 3]),
    linear(["q4_0", "q8_0"], 96, [65, 33], norm=False),
    linear(["q4_k", "q4_k"], 256, [66, 66], zipped=True),
    linear(["f32", "f32"], 33, [5, 5], zipped=True),
    linear(["q6_k"], 512, [18], top=3),
    linear(["q4_k", "q4_k"], 256, [66, 66], zipped=True, top=4),
    linear(["f16"], 96, [129], top=2),
    linear(["mq4g256", "mfp4b256"], 512, [66, 66], zipped=True),
    linear(["mq6g256v2"], 256, [18], top=3),
    softmax_map(3, 50),
    softmax_map(1, 1500),
    attend(6, 2, 80),
    attend(4, 4, 16, window=5, softcap=20.0, sinks=True, slopes=True),
    attend(24, 4, 256, formats=("f16", "f16")),
    attend(4, 2, 64, window=9, causal=False),
    delta(2, 4, 24, 40, 4, tiled=False),
    delta(2, 6, 128, 128, 4, tiled=True),
    delta(1, 1, 8, 5, 2, tiled=False),
    route(8, 3),
    route(77, 10, normalize=False, score="sqrtsoftplus"),
    route(70, 3, normalize=False, score="sparsemixer", jitter=0.15, scale=1.5),
    route(96, 70, True, score="sigmoid", groups=6, top_groups=5, group_best=2, scale=2.5, eps=1e-20),
    sinkhorn(4),
    sinkhorn(11),
    conv(150, 4),
    pool(150, 2, 3),
    choose(64, 128, 20, 2),
    choose(3, 96, 5, 1, "q8"),
    entries(64, 512, 9, 4, top=6),
    entries(5, 576, 0, 1, top=20, format="q8"),
    entries(6, 40, 3, 2, format="f32"),
    adopt_bound(7),
)
