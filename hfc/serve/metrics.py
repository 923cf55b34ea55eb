"""What the server counts, for Prometheus and for the page."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hfc.serve.prefix_tiers import CacheCounts

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
GAUGES = {
    "slots": "Sequences that can run at a time",
    "slots_busy": "Sequences that run",
    "queue": "Sequences that wait for a slot",
    "queue_limit": "Sequences that may wait",
    "kv_tokens": "Positions that slots hold",
    "kv_capacity": "Positions that slots can hold",
    "cache_bytes": "Bytes of the prefix cache in host memory",
    "cache_device_bytes": "Bytes of the prefix cache in device memory",
    "cache_disk_bytes": "Bytes of the prefix cache on disk",
    "cache_nodes": "Blocks of the prefix cache",
}
COUNTERS = {
    "prompt_tokens": "Prompt tokens, cached ones too",
    "cached_tokens": "Prompt tokens whose state was there already",
    "prefill_tokens": "Prompt tokens that were computed",
    "generated_tokens": "Tokens of answers",
    "steps": "Steps of the model",
    "step_rows": "Rows of all steps",
    "step_seconds": "Time in steps, sampling included",
    "failed_sequences": "Answers that ended with an error of their own",
    "engine_restarts": "Times the engine began again after a step that failed",
    "loads": "How often the model was loaded",
    "draft_cycles": "Verifying steps of sequences: their tokens are these and the accepted drafts",
    "drafted_tokens": "Drafts that were checked",
    "accepted_tokens": "Drafts that were right",
}
CACHE_COUNTERS = {
    "cache_hits": ("Prompts of which the prefix cache or a slot had a beginning", lambda c: c.hits),
    "cache_misses": ("Prompts of which neither had one", lambda c: c.lookups - c.hits),
    "cache_spills": ("Blocks that moved from device to host memory", lambda c: c.spills),
    "cache_loads": ("Copies that came back from disk", lambda c: c.loads),
}
HISTOGRAMS = {
    "time_to_first_token_seconds": "From arrival to the first token",
    "inter_token_seconds": "Between two tokens of an answer",
    "request_seconds": "From arrival to the last token",
}


class Times:
    """A histogram of seconds. Prometheus' own takes microseconds for each token, which many streams add up."""

    def __init__(self):
        self._counts, self._sum = [0] * (len(SECONDS) + 1), 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    def family(self) -> tuple[list[tuple[str, float]], float]:
        """Buckets as Prometheus wants them, each with all below it, and the sum."""
        borders = [*map(str, map(float, SECONDS)), "+Inf"]
        return list(zip(borders, map(float, accumulate(self._counts)))), self._sum


class Meters:
    """The counters of a server: of requests, and of each model under its name."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self._requests = Counter("hfc_requests", "HTTP requests", ["path", "status"], registry=self.registry)
        self.models: dict[str, Metrics] = {}
        self.gauges: dict[str, Callable[[], dict[str, float]]] = {}
        self.registry.register(self)

    def answered(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def requests(self) -> Iterable[Metric]:
        """How they were answered."""
        return self._requests.collect()

    def collect(self) -> Iterable[Metric]:
        """What every model counts, and the gauges of this moment of those that are loaded."""
        models = list(self.models.items())
        for name, text in COUNTERS.items():
            counter = CounterMetricFamily(f"hfc_{name}", text, labels=["model"])
            for model, metrics in models:
                counter.add_metric([model], metrics.counts[name])
            yield counter
        yield from _of_caches([(model, metrics.cache) for model, metrics in models])
        for name, text in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"hfc_{name}", text, labels=["model"])
            for model, metrics in models:
                histogram.add_metric([model], *metrics.times[name].family())
            yield histogram
        values = {model: read() for model, read in list(self.gauges.items())}
        for name, text in GAUGES.items():
            gauge = GaugeMetricFamily(f"hfc_{name}", text, labels=["model"])
            for model, gauges in values.items():
                gauge.add_metric([model], gauges[name])
            yield gauge


def _of_caches(caches: list[tuple[str, CacheCounts]]) -> Iterable[Metric]:
    for name, (text, read) in CACHE_COUNTERS.items():
        counter = CounterMetricFamily(f"hfc_{name}", text, labels=["model"])
        for model, counts in caches:
            counter.add_metric([model], float(read(counts)))
        yield counter
    evictions = CounterMetricFamily("hfc_cache_evictions", "What left the prefix cache", labels=["model", "cause"])
    for model, counts in caches:
        for cause, count in counts.evictions.items():
            evictions.add_metric([model, cause], float(count))
    yield evictions


class Metrics:
    """One model's counters; they outlive its engine. Only the engine's thread changes them."""

    def __init__(self, model: str = "model", meters: Meters | None = None):
        self.model, self.meters = model, meters or Meters()
        before = self.meters.models.get(model)  # of an engine that was unloaded
        self.counts = before.counts if before else dict.fromkeys(COUNTERS, 0.0)
        self.cache = before.cache if before else CacheCounts()
        self.times = before.times if before else {name: Times() for name in HISTOGRAMS}
        self.meters.models[model] = self
        self._between = self.times["inter_token_seconds"]
        self._mean_s = 1.0

    def watch(self, gauges: Callable[[], dict[str, float]]) -> None:
        """The model is loaded: read these gauges whenever somebody asks."""
        self.counts["loads"] += 1
        self.meters.gauges[self.model] = gauges

    def unwatch(self) -> None:
        self.meters.gauges.pop(self.model, None)

    def admitted(self, cached: int, prompt: int) -> None:
        self.counts["prompt_tokens"] += prompt
        self.counts["cached_tokens"] += cached

    def prefilled(self, tokens: int) -> None:
        self.counts["prefill_tokens"] += tokens

    def stepped(self, seconds: float, rows: int) -> None:
        self.counts["steps"] += 1
        self.counts["step_rows"] += rows
        self.counts["step_seconds"] += seconds

    def drafted(self, drafts: int, accepted: int) -> None:
        """A step checked drafts of one sequence."""
        self.counts["draft_cycles"] += 1
        self.counts["drafted_tokens"] += drafts
        self.counts["accepted_tokens"] += accepted

    def first_token(self, seconds: float) -> None:
        self.counts["generated_tokens"] += 1
        self.times["time_to_first_token_seconds"].observe(seconds)

    def next_token(self, seconds: float) -> None:
        self.counts["generated_tokens"] += 1
        self._between.observe(seconds)

    def finished(self, seconds: float) -> None:
        self.times["request_seconds"].observe(seconds)
        self._mean_s = 0.9 * self._mean_s + 0.1 * seconds

    def failed(self) -> None:
        self.counts["failed_sequences"] += 1

    def restarted(self) -> None:
        self.counts["engine_restarts"] += 1

    def mean_request_s(self) -> float:
        """A running mean, to tell a refused client when to come back."""
        return self._mean_s
