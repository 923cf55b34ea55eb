"""Prometheus texts of a door and its replicas as one, in which each replica's figures have its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from hfc.serve.metrics import Meters
from hfc.serve.ray.passing import Counts

DOOR = {
    "requests_retried": ("Requests that another replica was asked for, as one had failed", "retried"),
    "streams_broken_off": ("Streams that a failed replica ended", "broken_off"),
    "requests_given_up": ("Requests that no replica could answer", "given_up"),
}


class _All:
    """A collector."""

    def __init__(self, meters: Meters, counts: Counts, texts: Mapping[str, bytes]):
        self._meters, self._counts, self._texts = meters, counts, texts

    def collect(self) -> Iterable[Metric]:
        yield from self._meters.requests()
        yield GaugeMetricFamily("hfc_replicas", "Replicas that can be reached", len(self._texts))
        for name, (text, field) in DOOR.items():
            yield CounterMetricFamily(f"hfc_door_{name}", text, getattr(self._counts, field))
        families: dict[str, Metric] = {}
        for replica, text in self._texts.items():
            for family in text_string_to_metric_families(text.decode()):
                if family.name != "hfc_requests":  # those are counted at the door
                    mine = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                    for sample in family.samples:
                        mine.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
        yield from families.values()


def metrics_text(meters: Meters, counts: Counts, texts: Mapping[str, bytes]) -> bytes:
    """texts: of each replica."""
    registry = CollectorRegistry()
    registry.register(_All(meters, counts, texts))
    return generate_latest(registry)
