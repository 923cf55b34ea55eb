"""The compiler, whole: a model on disk in, a bundle with a plan for each arch out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hfc.backend import gpu
from hfc.backend.emit import DraftGraph, Emitted, emit, make_plan
from hfc.backend.host import plan as host
from hfc.backend.skeletons.linear.choices import own_choices
from hfc.base.cache import cached, key_of, record_made
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.base.file_start import holds_tensors
from hfc.base.installed import package_digest
from hfc.base.trace import is_watched, timed
from hfc.bundles import read_bundle
from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint, joined, open_checkpoint
from hfc.formats.checkpoint.foreign import refuse_foreign
from hfc.formats.checkpoint.mapped import read_json
from hfc.formats.checkpoint.published import without_quantization
from hfc.frontend.build import Described, Pair, build_graph, build_pair
from hfc.frontend.model import (
    ModelFile,
    builtin_folder,
    find_draft,
    find_model,
    has_draft,
    load_model,
    model_type_of,
    read_model,
)
from hfc.frontend.weights import WeightTable
from hfc.ir.graph import Graph
from hfc.passes.pipeline import run_passes
from hfc.passes.rotate_inputs import rotate_inputs
from hfc.passes.settings import (
    ON_DEVICE,
    Settings,
    StageCut,
    parse_experts,
    parse_kv,
    refuse_staged,
    with_experts,
    with_ranks,
)
from hfc.passes.stages import check_ranges, written_stages
from hfc.plan import Bundle, Plan
from hfc.step import JOURNAL_ROWS
from hfc.target.arch import ARCHS, Arch, find_arch
from hfc.target.cpus import CPUS, NATIVE
from hfc.target.profiles import AUTO_PROFILE, EXACT, profile_for

DEFAULT_CONTEXT = 4096  # tokens, or fewer if the model has fewer
MAX_ROWS = 512
MAX_OUTPUTS = 32
MAX_DRAFT_ROWS = 64  # of a step that verifies drafts: more sequences than this allows decode plainly
OWN_HEAD = "mtp"  # a draft that is part of the target's own checkpoint
AUTO = "auto"  # the draft that lies where drafts lie, if there is one
HEAD_TENSORS = ("mtp.*", "*.nextn.*")
MODEL_FILE, DRAFT_FILE = "model.hfm", "draft.hfm"  # of a bundle: what its graphs were made from

After = Callable[[str, Graph], None]


@dataclass(frozen=True)
class CompileOptions:
    """What may be chosen about a compilation; None leaves the choice to hfc.

    weights, draft, default_format: see open_source.
    ctx: tokens a slot holds.  kv: as parse_kv takes it.  slots: sequences that run at a time.  max_rows: of the largest step.
    taps: values besides the logits that the plans give out, as `Model.tap` reads them: "last_hidden", or what the model file taps
    ("hidden[3]").  journal_rows: rows of a slot that a step may leave uncommitted; JOURNAL_ROWS with a draft, else none.
    profile: of precision, see target.profiles; "auto" is fast on GPUs.  cpu: see target.cpus; of the host's code.
    stages: layers (first, last) of each arch: its plans are then the stages of one pipeline, and an arch may come again.
    experts: of mixtures, which the host computes beside a card: see passes.settings.parse_experts.
    tensor_parallel: so many devices of one arch compute every layer together, each with a plan of its own."""

    ctx: int | None = None
    kv: str | None = None
    slots: int = 1
    max_rows: int | None = None
    taps: Sequence[str] = ()
    journal_rows: int | None = None
    profile: str = EXACT
    weights: str | Path | None = None
    default_format: str | None = None
    draft: str | Path | None = None
    cpu: str = NATIVE
    stages: tuple[tuple[int, int], ...] = ()
    experts: str = ON_DEVICE
    tensor_parallel: int = 1


USUAL = CompileOptions()


@dataclass(frozen=True)
class CompilerInput:
    """What is compiled: the description, the config behind it, and the weights if there are any.

    draft: what guesses for it, and runs on its hidden states."""

    model: ModelFile
    config: Mapping[str, Any]
    kind: str  # "hf" | "gguf"
    checkpoint: Checkpoint | None
    path: Path
    default_format: str = "bf16"  # of matrices, where there are no weights to ask
    draft: CompilerInput | None = None

    def graph(self, taps: Sequence[str] = ()) -> Graph:
        """Of the model itself; with a draft, it also leaves what the draft will need."""
        if self.draft:
            return self.pair(taps).target
        graph = build_graph(self.model, self.config, self.kind, self.checkpoint, self.default_format, taps)
        return rotate_inputs(graph, None if self.checkpoint else "q8_0")

    def pair(self, taps: Sequence[str] = ()) -> Pair:
        """The graphs of the model and of its draft."""
        pair = build_pair(self._described(), self.draft._described(), taps)
        table = None if self.checkpoint else "q8_0"
        return replace(pair, target=rotate_inputs(pair.target, table), draft=rotate_inputs(pair.draft, table))

    def weights(self) -> Checkpoint | None:
        """Every tensor that recipes of its graphs name."""
        if self.checkpoint is None or self.draft is None:
            return self.checkpoint
        return self.draft.checkpoint and joined(self.checkpoint, self.draft.checkpoint)

    def _described(self) -> Described:
        return Described(self.model, self.config, self.kind, self.checkpoint, self.default_format)

    @property
    def settings(self) -> dict[str, Any]:
        """The model file's names for what the config says."""
        return self.model.settings(self.config, self.kind, self.checkpoint)

    @property
    def context_limit(self) -> int:
        """The longest context that the model was made for, in tokens."""
        return int(self.settings.get("context", DEFAULT_CONTEXT))


def open_source(
    source: str | Path,
    weights: str | Path | None = None,
    default_format: str | None = None,
    draft: str | Path | None = None,
) -> CompilerInput:
    """source: an HF folder, a GGUF file, a config.json, or a .hfm with `weights` (a checkpoint or a config) beside it.

    default_format: of every matrix where a config has no weights (None: bf16); refused where there are some.  draft: the same of what
    guesses for it; "mtp" is the head for this in the model's own checkpoint, "auto" what `discover_draft` finds."""
    opened = _open_source(Path(source), weights, default_format)
    draft = discover_draft(opened) if draft == AUTO else draft
    return opened if draft is None else replace(opened, draft=_open_draft(draft, opened))


def discover_draft(target: CompilerInput) -> str | Path | None:
    """A folder "draft" or a file draft.gguf in the target's, one beside it that is named after it ("Qwen3.5-9B-DFlash"), or a head in
    its checkpoint. A model of the registry has a folder of its own in the cache, so that its draft can lie there too."""
    folder = target.path if target.path.is_dir() else target.path.parent
    for place in (folder / "draft", folder / "draft.gguf", *sorted(folder.parent.glob(f"{folder.name}-DFlash*"))):
        if (place / "config.json").is_file() or (place.suffix == ".gguf" and place.is_file()):
            return place
    names = target.checkpoint.names() if target.checkpoint else ()
    has_head = any(fnmatchcase(name, pattern) for name in names for pattern in HEAD_TENSORS)
    return OWN_HEAD if has_head and has_draft(f"{target.model.name}_{OWN_HEAD}") else None


def _open_draft(draft: str | Path, target: CompilerInput) -> CompilerInput:
    if str(draft) == OWN_HEAD:
        return replace(target, model=find_draft(f"{target.model.name}_{OWN_HEAD}"))
    config, kind, checkpoint, path = open_weights(Path(draft))
    return CompilerInput(find_draft(model_type_of(config, kind)), config, kind, checkpoint, path, target.default_format)


def _open_source(source: Path, weights: str | Path | None, default_format: str | None) -> CompilerInput:
    if source.suffix == ".hfm" and weights is None:
        hint = "add --weights with a checkpoint or a config.json"
        raise HfcError(f"{source}: a model description alone has no sizes", hint=hint)
    config, kind, checkpoint, path = open_weights(Path(weights or source))
    if checkpoint and default_format:
        hint = f"leave it out; or pack them in another: hfc quantize {path} --format FORMAT -o FOLDER"
        raise HfcError(f"--format {default_format}: the weights in {path} have formats of their own", hint=hint)
    model = load_model(source) if source.suffix == ".hfm" else find_model(model_type_of(config, kind))
    return CompilerInput(model, config, kind, checkpoint, path, weight_format(default_format or "bf16").name)


def open_weights(path: Path) -> tuple[Mapping[str, Any], str, Checkpoint | None, Path]:
    """A folder or file with tensors, or a config alone."""
    config = path if path.suffix == ".json" else path / "config.json"
    if path.suffix == ".json" or (config.exists() and not holds_tensors(path)):
        return without_quantization(read_json(config)), "hf", None, path
    checkpoint = open_checkpoint(path)
    refuse_foreign(path, checkpoint.config)
    return checkpoint.config, checkpoint.kind, checkpoint, path


def compile_model(
    source: str | Path, archs: Sequence[str], options: CompileOptions = USUAL, print_after: After | None = None
) -> Bundle:
    """A plan for each arch ("all": every one). An equal compilation done before comes from the cache."""
    opened = open_source(source, options.weights, options.default_format, options.draft)
    names = list(ARCHS) if list(archs) == ["all"] else list(archs)
    chosen = chosen_settings(opened, names, options)
    make = lambda: _compile(opened, chosen, options, print_after).pack()  # noqa: E731
    is_seen = print_after is not None or is_watched()
    label = f"{opened.model.name}-{'-'.join(names)}"
    data = make() if is_seen else cached(_key(opened, chosen), ".hfp", make, label).read_bytes()
    bundle = read_bundle(data, "cached bundle")
    for name in bundle.files:
        if name.endswith(".so"):  # the bundle may come from the cache, and its host code was made when it was
            record_made(bundle.files[name])
    return bundle


def chosen_settings(opened: CompilerInput, archs: Sequence[str], options: CompileOptions) -> list[Settings]:
    """Of the plan for each arch, of each stage of a pipeline (all of one profile: a prompt's numbers keep their precision), or of each rank."""
    found = [settings_for(opened, find_arch(name), options) for name in archs]
    if options.tensor_parallel > 1:
        beside = {"--stages": options.stages, "--draft": opened.draft, "--experts": parse_experts(options.experts) != 0}
        return with_ranks(found, options.tensor_parallel, [name for name, given in beside.items() if given])
    if not options.stages:
        on_host = replace(options, profile=AUTO_PROFILE)  # a CPU has profiles of its own
        return with_experts(found, settings_for(opened, find_arch("host"), on_host), options.experts)
    refuse_staged(options.experts)
    check_ranges(archs, options.stages, opened.settings["layers"])
    if len({settings.profile for settings in found}) > 1:
        found = [replace(settings, profile=EXACT) for settings in found]
    return [replace(settings, stage=StageCut(i, options.stages)) for i, settings in enumerate(found)]


def settings_for(opened: CompilerInput, arch: Arch, options: CompileOptions = USUAL) -> Settings:
    """Every choice about a plan resolved; those about its source are `opened`."""
    limit = opened.context_limit
    context = options.ctx or min(DEFAULT_CONTEXT, limit)
    if not 0 < context <= limit:
        raise HfcError(
            f"context {context}: {opened.path} was made for at most {limit} tokens", hint=f"--ctx {limit} or less"
        )
    k_format, v_format, edges = parse_kv(options.kv)
    journal_rows = options.journal_rows
    if journal_rows is None:
        journal_rows = JOURNAL_ROWS if opened.draft else 0
    if not 0 <= journal_rows <= JOURNAL_ROWS:
        raise HfcError(f"a journal of {journal_rows} rows; it can hold 0 to {JOURNAL_ROWS}")
    rows = min(options.max_rows or MAX_ROWS, context)
    outputs = _outputs(opened, options.slots, rows)
    return Settings(
        arch, context, options.slots, rows, outputs, k_format, v_format, tuple(options.taps), journal_rows, kv_edges=edges,
        profile=profile_for(arch, options.profile), cpu=_known_cpu(options.cpu) if not arch.platform.is_gpu else NATIVE,
    )  # fmt: skip


def _known_cpu(cpu: str) -> str:
    if cpu != NATIVE and cpu not in CPUS:
        raise unknown("cpu", cpu, (NATIVE, *CPUS))
    return cpu


def _outputs(opened: CompilerInput, slots: int, rows: int) -> int:
    """Rows whose logits one step can give: with a draft, those of whole blocks."""
    if opened.draft is None:
        return min(MAX_OUTPUTS, rows)
    block = opened.draft.settings["block"]
    if block > min(rows, JOURNAL_ROWS):
        most = f"a plan of {rows} rows" if rows < block else f"the journal of {JOURNAL_ROWS} rows"
        raise HfcError(
            f"the draft's blocks of {block} tokens do not fit into {most}",
            hint="give more with --max-rows" if rows < block else None,
        )
    return min(max(MAX_OUTPUTS, min(slots * block, MAX_DRAFT_ROWS)), rows)


def _compile(
    opened: CompilerInput, chosen: list[Settings], options: CompileOptions, print_after: After | None
) -> Bundle:
    with timed("build the graph"):
        pair = opened.pair(chosen[0].graph_taps) if opened.draft else None
        graph = pair.target if pair else opened.graph(chosen[0].graph_taps)
    plans: dict[str, Plan] = {}
    files: dict[str, bytes] = {}
    for settings in chosen:
        backend = gpu if settings.arch.platform.is_gpu else host
        plan, made = backend.build(_emit(graph, pair, settings, backend.MATRIX_LAYOUT, print_after), settings)
        plans[plan.name] = plan
        files.update(made)
    model = {
        "name": graph.name,
        "kind": opened.kind,
        "weights": os.path.abspath(opened.path),
        "context": opened.context_limit,
        "options": _recorded(opened, chosen, options),
    }
    files |= {MODEL_FILE: opened.model.text.encode()}
    if draft := opened.draft:
        model["draft"] = {"name": draft.model.name, "kind": draft.kind, "weights": os.path.abspath(draft.path)}
        files[DRAFT_FILE] = draft.model.text.encode()
    return Bundle(model, plans, files)


def _recorded(opened: CompilerInput, chosen: list[Settings], options: CompileOptions) -> dict[str, Any] | None:
    """What `hfc compile` must be told to make this bundle again; None where it needs a description that hfc does not ship."""
    if opened.model.path.resolve().parent != builtin_folder().resolve():
        return None
    draft, settings = opened.draft, chosen[0]
    guesses = "off" if not settings.journal_rows else "ngram" if draft is None else str(draft.path.resolve())
    if draft and draft.path == opened.path:
        guesses = OWN_HEAD
    return {
        "ctx": settings.context,
        "slots": settings.slots,
        "max_rows": settings.max_rows,
        "kv": options.kv,
        "profile": options.profile,
        "format": opened.default_format,
        "draft": guesses,
        "taps": list(settings.taps),
        "experts": options.experts,
        "tensor_parallel": options.tensor_parallel,
        "stages": written_stages([s.arch.name for s in chosen], settings.stage.ranges) if settings.stage else None,
    }


def source_of(bundle: Bundle, weights: str | Path | None = None, default_format: str = "bf16") -> CompilerInput:
    """What a bundle was compiled from: the model file that it carries, on the checkpoint that it names, or on `weights`."""
    config, kind, checkpoint, path = open_weights(Path(weights or bundle.model["weights"]))
    opened = CompilerInput(_carried(bundle, MODEL_FILE), config, kind, checkpoint, path, default_format)
    draft = bundle.model.get("draft")
    if draft is None:
        return opened
    model = _carried(bundle, DRAFT_FILE)
    if draft["weights"] == bundle.model["weights"]:  # a head in the model's own checkpoint
        return replace(opened, draft=replace(opened, model=model))
    config, kind, checkpoint, path = open_weights(Path(draft["weights"]))
    return replace(opened, draft=CompilerInput(model, config, kind, checkpoint, path, default_format))


def _carried(bundle: Bundle, name: str) -> ModelFile:
    if name not in bundle.files:
        raise HfcError(f"the bundle of {bundle.model['name']} does not carry its model file", hint="compile it again")
    return read_model(bundle.files[name].decode(), Path(f"{bundle.model['name']}.hfp") / name)


def _emit(
    graph: Graph, pair: Pair | None, settings: Settings, layout: str, print_after: After | None = None
) -> Emitted:
    fused = run_passes(graph, settings, after=print_after)
    if pair is None or not settings.gives_logits:
        with timed("bind regions"):
            return emit(fused, settings, layout, vocab=graph.outputs[0].type.size(-1))
    own = replace(settings, is_draft=True, taps=(), kv_edges=(0, 0), stage=None, experts=None)
    draft = DraftGraph(
        run_passes(pair.draft, own, after=print_after), own, pair.settings["block"], pair.settings.get("mask_token")
    )
    with timed("bind regions"):
        return emit(fused, settings, layout, draft)


def emit_model(opened: CompilerInput, settings: Settings, after: After | None = None) -> Emitted:
    """The regions of a model (and of its draft) bound to skeletons, and their memory; nothing is rendered.

    after: called with each pass's name and result."""
    backend = gpu if settings.arch.platform.is_gpu else host
    pair = opened.pair(settings.graph_taps) if opened.draft else None
    graph = pair.target if pair else opened.graph(settings.graph_taps)
    return _emit(graph, pair, settings, backend.MATRIX_LAYOUT, after)


def outline(opened: CompilerInput, settings: Settings) -> Plan:
    """The plan without kernels and launches: enough for its memory arithmetic, in a fraction of a second."""
    return make_plan(emit_model(opened, settings), settings, (), {})


def _key(opened: CompilerInput, chosen: list[Settings]) -> str:
    """Everything that the bundle depends on."""
    is_native = any(not s.arch.platform.is_gpu and s.cpu == NATIVE for s in chosen)
    settings = "\n".join(map(repr, (*chosen, *own_choices()))) + (host.cpu_features() if is_native else "")
    return key_of(package_digest(), *_content(opened), settings, *(_content(opened.draft) if opened.draft else ()))


def _content(opened: CompilerInput) -> tuple[str, ...]:
    tensors = [opened.checkpoint.info(n) for n in opened.checkpoint.names()] if opened.checkpoint else []
    inventory = "\n".join(f"{t.name} {t.format} {t.shape}" for t in tensors)
    config = json.dumps(
        {k: v for k, v in opened.config.items() if not k.startswith("tokenizer.")}, sort_keys=True, default=str
    )
    weights = WeightTable(opened.model.syntax, opened.settings, opened.kind, opened.checkpoint, opened.default_format)
    untied = " ".join(weights.own_aliases())  # the one choice that the values of tensors decide
    return opened.model.text, config, inventory, untied, opened.default_format, os.path.abspath(opened.path)
