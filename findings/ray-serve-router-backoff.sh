#!/usr/bin/env bash
# What: Ray Serve 2.60.0: how often a deployment's request router is asked while its only replica is full, with RequestRouterConfig(
#   initial_backoff_s=0.5, max_backoff_s=0.5). The router is the documentation's own example of a custom one, and the same with one line more.
# Seen: the example is asked hundreds of times a second, each time with a call to the replica for its queue length; with
#   `pending_request.routing_context.should_backoff = True` it is asked twice a second. RequestRouter reads that field before it waits, it is
#   False at first, and the mixin for locality (which the router that Serve takes by default has) is what sets it: a router that is made of
#   RequestRouter alone never waits, whatever the configuration says.
# Why a good guess is wrong: backoff is documented as RequestRouter's own ("initial backoff time before retrying to route a request to a
#   replica"), its parameters are options of the configuration that takes the custom class, and no page on custom routers names the field.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q 'ray[serve]==2.60.0'
cat > "$work/probe.py" <<'PY'
import asyncio
import random

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import RequestRouter

BUSY_S = 4.0

class Uniform(RequestRouter):
    """As docs.ray.io has it: serve/advanced-guides/custom-request-router.html"""
    waits = False

    def initialize_state(self):
        type(self).asked = 0

    async def choose_replicas(self, candidate_replicas, pending_request=None):
        type(self).asked += 1
        if self.waits and pending_request is not None:
            pending_request.routing_context.should_backoff = True
        return [[random.choice(candidate_replicas)]]

class Waiting(Uniform):
    waits = True

async def asked(router):
    class Replica:
        async def __call__(self):
            await asyncio.sleep(BUSY_S)

    config = RequestRouterConfig(request_router_class=router, initial_backoff_s=0.5, backoff_multiplier=1, max_backoff_s=0.5)
    deployment = serve.deployment(Replica, name=router.__name__, max_ongoing_requests=1, request_router_config=config)
    handle = serve.run(deployment.bind(), name=router.__name__, route_prefix=None)
    first = asyncio.ensure_future(asyncio.wait_for(handle.remote(), 60))
    await asyncio.sleep(0.5)
    second = asyncio.ensure_future(asyncio.wait_for(handle.remote(), 60))
    await asyncio.sleep(0.5)
    router_used = handle._router._asyncio_router.request_router
    before = type(router_used).asked
    await asyncio.sleep(BUSY_S - 2)
    found = (type(router_used).asked - before) / (BUSY_S - 2)
    await asyncio.gather(first, second)
    serve.delete(router.__name__)
    return found

async def main():
    print("ray", ray.__version__)
    plain, waiting = await asked(Uniform), await asked(Waiting)
    print(f"initial_backoff_s=0.5: the documentation's router is asked {plain:.0f} times a second while its replica is full")
    print(f"with should_backoff = True: {waiting:.1f} times a second")
    assert plain > 20 and waiting <= 3

ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
serve.start(proxy_location="Disabled")
asyncio.run(main())
serve.shutdown()
PY
RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/python" "$work/probe.py" 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
