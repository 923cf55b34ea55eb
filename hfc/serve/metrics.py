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
    "cache_bytes": "Bytes of the prefix cache",
    "cache_nodes": "Blocks of the prefix cache",
}


class Metrics:
    """One model's counters in a registry of their own. Calls come from the engine's thread."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self._prompt = Counter("hfc_prompt_tokens", "Prompt tokens, cached ones too", registry=self.registry)
        self._cached = Counter("hfc_cached_tokens", "Prompt tokens whose state was there already", registry=self.registry)
        self._prefill = Counter("hfc_prefill_tokens", "Prompt tokens that were computed", registry=self.registry)
        self._generated = Counter("hfc_generated_tokens", "Tokens of answers", registry=self.registry)
        self._steps = Counter("hfc_steps", "Steps of the model", registry=self.registry)
        self._rows = Counter("hfc_step_rows", "Rows of all steps", registry=self.registry)
        self._step_s = Counter("hfc_step_seconds", "Time in steps, sampling included", registry=self.registry)
        self._requests = Counter("hfc_requests", "HTTP requests", ["path", "status"], registry=self.registry)
        self._first = Histogram("hfc_time_to_first_token_seconds", "From arrival to the first token", buckets=SECONDS, registry=self.registry)
        self._between = Histogram("hfc_inter_token_seconds", "Between two tokens of an answer", buckets=SECONDS, registry=self.registry)
        self._total = Histogram("hfc_request_seconds", "From arrival to the last token", buckets=SECONDS, registry=self.registry)
        self._mean_s = 1.0

    def watch(self, gauges: Callable[[], dict[str, float]]) -> None:
        """Read these gauges whenever somebody asks."""
        self.registry.register(_Gauges(gauges))

    def admitted(self, cached: int, prompt: int) -> None:
        self._prompt.inc(prompt)
        self._cached.inc(cached)

    def prefilled(self, tokens: int) -> None:
        self._prefill.inc(tokens)

    def stepped(self, seconds: float, rows: int) -> None:
        self._steps.inc()
        self._rows.inc(rows)
        self._step_s.inc(seconds)

    def first_token(self, seconds: float) -> None:
        self._generated.inc()
        self._first.observe(seconds)

    def next_token(self, seconds: float) -> None:
        self._generated.inc()
        self._between.observe(seconds)

    def finished(self, seconds: float) -> None:
        self._total.observe(seconds)
        self._mean_s = 0.9 * self._mean_s + 0.1 * seconds

    def answered(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def mean_request_s(self) -> float:
        """A running mean, to tell a refused client when to come back."""
        return self._mean_s

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


class _Gauges:
    def __init__(self, read: Callable[[], dict[str, float]]):
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, value in self._read().items():
            yield GaugeMetricFamily(f"hfc_{name}", GAUGES[name], value=value)
