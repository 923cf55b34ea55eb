"""How much a predicted speed depends on each figure of the timing model: every one 20 % less and more, one at a time.

python scripts/predict_sensitivity.py BUNDLE "RX 7900 XTX" [CONTEXT]
"""

import sys
from dataclasses import replace

from hfc.bundles import load_bundle
from hfc.cli.table import table
from hfc.predict.cards import find_cards
from hfc.predict.launch import site_of
from hfc.predict.program import LaunchSampler, estimate

FIELDS = (
    "l0_latency", "l2_latency", "dram_latency", "lds_latency", "scalar_latency", "l2_bytes_per_cycle", "l0_bytes",
    "dispatch_cycles", "request_bytes", "dram_share", "launch_us",
)  # fmt: skip
SHARES = (0.8, 1.2)
L0_GRANULE = 4096


def scaled(value: float, share: float, field: str) -> float:
    if isinstance(value, float):
        return value * share
    granule = L0_GRANULE if field == "l0_bytes" else 1
    return max(1, round(value * share / granule) * granule)


def main() -> None:
    bundle, name = load_bundle(sys.argv[1]), sys.argv[2]
    context = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    arch, card = find_cards(name)[0]
    site = site_of(arch, card)
    calls = LaunchSampler(bundle, arch.name).calls(1, context)
    speed = lambda changed: round(estimate(calls, changed).tokens_per_second, 1)  # noqa: E731
    found = [("as it is", speed(site), speed(site))]
    for field in FIELDS:
        values = [scaled(getattr(site.timing, field), share, field) for share in SHARES]
        found.append(
            (field, *(speed(replace(site, timing=replace(site.timing, **{field: value}))) for value in values))
        )
    found.append(("clock", *(speed(replace(site, ghz=site.ghz * share)) for share in SHARES)))
    print(table(("figure", "80 %", "120 %"), found))


main()
