"""What the server counts, for Prometheus and for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

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
    "loads": "How often the model was loaded",
    "draft_cycles": "Verifying steps of sequences: their tokens are these and the accepted drafts",
    "drafted_tokens": "Drafts that were checked",
    "accepted_tokens": "Drafts that were right",
}
HISTOGRAMS = {
    "time_to_first_token_seconds": "From arrival to the first token",
    "inter_token_seconds": "Between two tokens of an answer",
    "request_seconds": "From arrival to the last token",
}


class Meters:
    """The counters of a server: of requests, and of each model under its name."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self._requests = Counter("hfc_requests", "HTTP requests", ["path", "status"], registry=self.registry)
        self.counters = {name: Counter(f"hfc_{name}", text, ["model"], registry=self.registry) for name, text in COUNTERS.items()}
        self.histograms = {
            name: Histogram(f"hfc_{name}", text, ["model"], buckets=SECONDS, registry=self.registry) for name, text in HISTOGRAMS.items()
        }
        self.gauges: dict[str, Callable[[], dict[str, float]]] = {}
        self.registry.register(self)

    def answered(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """The gauges of this moment, of models that are loaded."""
        values = {model: read() for model, read in list(self.gauges.items())}
        for name, text in GAUGES.items():
            family = GaugeMetricFamily(f"hfc_{name}", text, labels=["model"])
            for model, gauges in values.items():
                family.add_metric([model], gauges[name])
            yield family


class Metrics:
    """One model's counters; they outlive its engine. Calls come from the engine's thread."""

    def __init__(self, model: str = "model", meters: Meters | None = None):
        self.model, self.meters = model, meters or Meters()
        counters = {name: family.labels(model) for name, family in self.meters.counters.items()}
        self._prompt, self._cached, self._prefill = counters["prompt_tokens"], counters["cached_tokens"], counters["prefill_tokens"]
        self._generated, self._loads = counters["generated_tokens"], counters["loads"]
        self._steps, self._rows, self._step_s = counters["steps"], counters["step_rows"], counters["step_seconds"]
        self._cycles, self._drafted, self._accepted = counters["draft_cycles"], counters["drafted_tokens"], counters["accepted_tokens"]
        histograms = {name: family.labels(model) for name, family in self.meters.histograms.items()}
        self._first, self._between = histograms["time_to_first_token_seconds"], histograms["inter_token_seconds"]
        self._total = histograms["request_seconds"]
        self._mean_s = 1.0

    def watch(self, gauges: Callable[[], dict[str, float]]) -> None:
        """The model is loaded: read these gauges whenever somebody asks."""
        self._loads.inc()
        self.meters.gauges[self.model] = gauges

    def unwatch(self) -> None:
        self.meters.gauges.pop(self.model, None)

    def admitted(self, cached: int, prompt: int) -> None:
        self._prompt.inc(prompt)
        self._cached.inc(cached)

    def prefilled(self, tokens: int) -> None:
        self._prefill.inc(tokens)

    def stepped(self, seconds: float, rows: int) -> None:
        self._steps.inc()
        self._rows.inc(rows)
        self._step_s.inc(seconds)

    def drafted(self, drafts: int, accepted: int) -> None:
        """A step checked drafts of one sequence."""
        self._cycles.inc()
        self._drafted.inc(drafts)
        self._accepted.inc(accepted)

    def first_token(self, seconds: float) -> None:
        self._generated.inc()
        self._first.observe(seconds)

    def next_token(self, seconds: float) -> None:
        self._generated.inc()
        self._between.observe(seconds)

    def finished(self, seconds: float) -> None:
        self._total.observe(seconds)
        self._mean_s = 0.9 * self._mean_s + 0.1 * seconds

    def mean_request_s(self) -> float:
        """A running mean, to tell a refused client when to come back."""
        return self._mean_s
