"""Models of `hfc serve`: how each is found, measured and loaded."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.system import memory_bytes
from hfc.bundles import load_bundle
from hfc.cli.device import memory_text
from hfc.cli.open_model import (
    MEMORY_STEP,
    ModelChoice,
    OpenModel,
    check_weights,
    load_opened,
    open_bundle,
    own_draft,
    plan_memory,
    resolve,
)
from hfc.cli.sampling import chosen_sampling, recommended_sampling
from hfc.cli.serve_cache import CacheFolder
from hfc.runtime.executor import OPENERS, is_host, joined_plan_for, split_device, split_devices
from hfc.runtime.fit import RESERVE, need_of
from hfc.runtime.source import Source, name_of
from hfc.runtime.summary import ModelSummary, summary_of
from hfc.serve.engine import Engine
from hfc.serve.limits import ServerLimits
from hfc.serve.metrics import Meters, Metrics
from hfc.serve.models import Prepared
from hfc.serve.scheduler import Limits
from hfc.serve.served import Served

SUFFIXES = (".gguf", ".hfp", ".hfq", ".mq3", ".mq4", ".mq6")  # what a models folder holds beside Hugging Face folders
FIRST_PART = re.compile(r"(.+)-0*1-of-(\d+)\.gguf")
LATER_PART = re.compile(r"-(?!0*1-of)\d+-of-\d+\.gguf$")  # of a checkpoint in several files
USUAL_SLOTS, MANY_SLOTS = 4, 8
SMALL_SHARE = 1 / 8  # of a plan's memory: a model that is smaller has room for many slots of long contexts
LEAST_ON_GPU = 64  # prompt rows of a step: a tile of the products, which fewer fill as well
HOST_SHARE = 0.9  # of the machine's memory


@dataclass(frozen=True)
class ServeChoice:
    """What the options say about every model. sampling: what was given, over what each model recommends. cache_bytes, device_cache_bytes:
    of a model's prefix cache in either memory.  template: in place of the model's own.  plan_bytes: without a context, take the longest
    that the model was trained for and with which its plan takes no more."""

    device: str
    threads: int | None
    context: int | None
    kv: str | None
    weights: str | None
    slots: int | None
    taps: tuple[str, ...]
    cache_bytes: int
    device_cache_bytes: int
    prefill_rows: int | None
    queue: int
    sampling: Mapping[str, float | None]
    draft: str = "auto"
    random_weights: bool = False
    trust: bool = False
    limits: ServerLimits = ServerLimits()
    usual_tokens: int | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    plan_bytes: int | None = None
    max_wait_s: float | None = None
    cache_folder: CacheFolder | None = None
    experts: str | None = None
    tensor_parallel: int | None = None
    profile: str | None = None

    def of(self, source: Source) -> ModelChoice:
        """A bundle's slots were chosen when it was compiled."""
        slots = self.slots or (None if source.kind == "bundle" else usual_slots(source.path, self.plan_bytes))
        drawn = self.random_weights
        return ModelChoice(
            self.device,
            self.threads,
            self.context,
            self.kv,
            self.weights,
            slots,
            random_weights=drawn,
            taps=self.taps,
            draft=self.draft,
            trust=self.trust,
            fits_memory=self.plan_bytes is not None and source.kind != "bundle",
            memory=self.plan_bytes,
            experts=self.experts,
            tensor_parallel=self.tensor_parallel,
            profile=self.profile,
        )


@dataclass(frozen=True)
class ModelOnDisk:
    """A ServedSource of serve/models.py."""

    name: str
    source: Source
    choice: ServeChoice
    meters: Meters

    @property
    def disk_bytes(self) -> int:
        return bytes_of(self.source.path)

    def summary(self) -> ModelSummary:
        """Of its weights, wherever they are; nothing where they cannot be read, which asking the model will tell."""
        try:
            if self.source.kind != "bundle":
                return summary_of(self.source.path)
            weights = self.choice.weights or load_bundle(self.source.path).model["weights"]
            return replace(summary_of(Path(weights)), container="hfp")
        except HfcError:
            return ModelSummary()

    def prepare(self) -> Prepared:
        choice = self.choice.of(self.source)
        choice = replace(choice, draft=own_draft(self.name, choice.draft))
        check_weights(self.source, choice)
        try:
            bundle = open_bundle(self.source, choice)
        except SystemExit as error:  # of the child that compiles
            raise HfcError(f"{self.source.path} does not compile; the server's log says why") from error
        plan = joined_plan_for(bundle, choice.device)
        beside = bundle.experts_of(plan)
        print(f"hfc: {self.name}: {memory_text(plan, beside)}; profile {plan.profile}", file=sys.stderr, flush=True)
        nbytes = need_of(plan).total - RESERVE + self.choice.device_cache_bytes
        if is_host(choice.device):
            nbytes += self.choice.cache_bytes
        weights = self.choice.weights or bundle.model["weights"]
        return Prepared(
            nbytes, lambda: self._served(load_opened(bundle, choice, with_vocabulary=True), weights), plan.slots
        )

    def _served(self, opened: OpenModel, weights: str) -> Served:
        model, choice = opened.model, self.choice
        limits = Limits(
            model.slots,
            model.max_rows,
            model.max_outputs,
            model.context,
            choice.prefill_rows,
            choice.queue,
            choice.max_wait_s,
            1 if is_host(choice.device) else LEAST_ON_GPU,
        )
        metrics = Metrics(self.name, self.meters)
        engine = Engine(
            model,
            limits,
            choice.cache_bytes,
            metrics,
            device_cache_bytes=choice.device_cache_bytes,
            speculation=opened.speculation,
            cache_files=choice.cache_folder.of(model.plan, weights) if choice.cache_folder else None,
        )
        engine.metrics.watch(engine.gauges)
        default = chosen_sampling(recommended_sampling(self.name, opened.vocabulary), **choice.sampling)
        vocabulary = replace(opened.vocabulary, template=choice.template or opened.vocabulary.template)
        served = Served(
            self.name,
            vocabulary,
            engine,
            default,
            limits=choice.limits,
            usual_tokens=choice.usual_tokens,
            variables=choice.variables,
        )
        served.warm()
        return served


def sources_of(models: list[str], folder: Path | None) -> list[tuple[str, Source]]:
    """Names and places of the models that are named, then of those of a folder. Registry names that are not here are fetched."""
    if not models and folder is None:
        raise HfcError("there is nothing to serve", hint="name a MODEL, or a folder of them with --models")
    found = [(name_of(model), resolve(model)) for model in models]
    return found + ([(name_of(str(path)), resolve(str(path))) for path in models_in(folder)] if folder else [])


def models_in(folder: Path) -> list[Path]:
    """Model files and Hugging Face folders right in `folder`, by name. HfcError without any."""
    if not folder.is_dir():
        raise HfcError(f"--models {folder}: no such folder")
    found = [p for p in sorted(folder.iterdir()) if _is_model(p)]
    if not found:
        raise HfcError(
            f"--models {folder}: there is no model in it",
            hint=f"hfc looks for {', '.join(SUFFIXES)} and folders with a config.json",
        )
    return found


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return (path / "config.json").is_file()
    return path.suffix in SUFFIXES and not LATER_PART.search(path.name)


def usual_slots(path: Path, memory: int | None) -> int:
    """Slots of a model for which nobody has chosen: more where its weights are small for the memory that its plan may take."""
    nbytes = bytes_of(path)
    return MANY_SLOTS if memory and 0 < nbytes <= SMALL_SHARE * memory else USUAL_SLOTS


def bytes_of(path: Path) -> int:
    """Of a model's file, or of the weights in its folder, on disk."""
    if path.is_dir():
        files = [*path.glob("*.safetensors"), *path.glob("*.gguf")]
    elif part := FIRST_PART.fullmatch(path.name):
        files = [*path.parent.glob(f"{glob.escape(part[1])}-*-of-{part[2]}.gguf")]
    else:
        files = [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def device_cache_of(device: str, megabytes: int | None) -> int:
    """Bytes of a model's prefix cache in device memory. A host device has one memory, and --cache-mb is about that."""
    if len(split_devices(device)) > 1:
        if megabytes:
            raise HfcError("--device-cache-mb: several devices keep no cache of their own", hint="use --cache-mb")
        return 0
    if split_device(device)[0] in OPENERS:
        return memory_of(device) // 16 if megabytes is None else megabytes << 20
    if megabytes:
        raise HfcError("--device-cache-mb: the host device has one memory", hint="use --cache-mb")
    return 0


def plan_bytes_of(device: str, limit: int, caches: tuple[int, int], models: int) -> int | None:
    """None for a pipeline, whose stages have a memory each.

    Bytes that each of several plans may take where no context is named: a share of what a card has free, of half the host's memory,
    and of the limit, beside what the prefix caches (host, device) take there."""
    if len(split_devices(device)) > 1:
        return None
    own = limit - caches[0] if is_host(device) else limit
    memory = min(plan_memory(device) or limit, own) - caches[1]
    return max(memory // models // MEMORY_STEP, 1) * MEMORY_STEP


def memory_of(device: str) -> int:
    """Bytes that models may take on a device, or on all of a pipeline's, unless an option says otherwise."""
    if len(split_devices(device)) > 1:
        return sum(memory_of(part) for part in dict.fromkeys(split_devices(device)))
    kind, which = split_device(device)
    if kind in OPENERS:
        return OPENERS[kind](int(which or 0)).info.memory_bytes - RESERVE
    total = memory_bytes()
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    text = limit.read_text().strip() if limit.is_file() else "max"
    return int(HOST_SHARE * (min(total, int(text)) if text.isdigit() else total))
