"""A deployment of replicas in a Ray cluster, and how the door asks them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException, RequestCancelledError
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from ray.serve.schema import LoggingConfig

from hfc.base.diagnostics import HfcError
from hfc.serve.errors import ApiError
from hfc.serve.ray.channel import Channels, Inbox
from hfc.serve.ray.parts import AnswerPart, Asked, Made, ReplicaLost
from hfc.serve.ray.replica import Replica
from hfc.serve.ray.router import PrefixRouter
from hfc.serve.ray.settings import RaySettings

LOG = logging.getLogger("hfc.serve")
LOOPBACK = "127.0.0.1"
APP, DEPLOYMENT = "hfc", "replica"
OBJECT_STORE_BYTES = 256 << 20  # of Ray's own cluster: bodies of requests pass through it, nothing else
HEALTH_S, HEALTH_TIMEOUT_S = 2.0, 30.0
END_S = 30.0
LOOK_BACK_S = 5.0  # over which the autoscaler takes the mean
LOOP_S = 0.2
FACTS_S = 5.0
LOST = (RayActorError, TaskCancelledError, RequestCancelledError, DeploymentUnavailableError)
MOST_OTHERS = 256  # requests beside those that wait for a slot: lists of models, tokens of a text


@contextlib.contextmanager
def cluster(settings: RaySettings) -> Iterator[None]:
    """Ray of our own on loopback, ended with us; or that at the address, which stays."""
    own: dict[str, Any] = {"address": settings.address}
    if settings.address is None:
        own = {
            "address": "local", "num_cpus": settings.most, "num_gpus": settings.cards, "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }  # fmt: skip
    try:
        ray.init(namespace=APP, logging_level=logging.WARNING, **own)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise HfcError(f"Ray cannot be reached at {settings.address or 'this machine'}: {error}") from error
    try:
        yield
    finally:
        ending = threading.Thread(target=serve.shutdown if settings.address is None else _leave, daemon=True)
        ending.start()
        ending.join(END_S)  # where Ray's own processes were killed, nobody answers
        ray.shutdown()


def _leave() -> None:
    serve.delete(APP)


def deployed(make: Callable[[], Made], settings: RaySettings, slots: int, queue: int, drain_s: float) -> RayReplicas:
    """The replicas, when the least of them can answer. HfcError when one cannot be made."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled", logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False))
    load = settings.load or slots
    grown = AutoscalingConfig(
        min_replicas=settings.least, max_replicas=settings.most, target_ongoing_requests=load, upscale_delay_s=settings.up_s,
        downscale_delay_s=settings.down_s, look_back_period_s=max(LOOK_BACK_S, settings.up_s), metrics_interval_s=1.0,
    )  # fmt: skip
    number = {"autoscaling_config": grown} if settings.grows else {"num_replicas": settings.most}
    deployment = serve.deployment(
        Replica, name=DEPLOYMENT, **number,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        max_ongoing_requests=slots + queue + MOST_OTHERS,
        graceful_shutdown_wait_loop_s=LOOP_S, graceful_shutdown_timeout_s=drain_s,
        health_check_period_s=HEALTH_S, health_check_timeout_s=HEALTH_TIMEOUT_S,
        request_router_config=RequestRouterConfig(
            request_router_class=PrefixRouter, request_router_kwargs={"spare": max(1, slots // 2)}
        ),
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )  # fmt: skip
    try:
        handle = serve.run(deployment.bind(make, settings.address is None), name=APP, route_prefix=None)
    except (RuntimeError, RayError, RayServeException) as error:
        raise HfcError(f"Ray Serve could not begin the replicas: {error}") from error
    return RayReplicas(handle, LOOPBACK if settings.address is None else ray.util.get_node_ip_address())


class RayReplicas:
    """`Replicas` by a handle of Ray Serve's."""

    def __init__(self, handle: DeploymentHandle, host: str):
        self._handle, self._answer = handle, handle.options(method_name="answer")
        self._channels = Channels(host)

    async def ask(self, asked: Asked) -> AsyncGenerator[list[AnswerPart], None]:
        async with self._channels.open(asked) as inbox:
            answer = self._answer.remote(asked)
            end = asyncio.ensure_future(_end(answer, inbox))
            is_whole = False
            try:
                async for parts in inbox.parts():
                    yield parts
                is_whole = True
            finally:
                if not is_whole:
                    answer.cancel()
                    end.cancel()
                await asyncio.gather(end, return_exceptions=True)

    async def states(self) -> dict[str, int]:
        status = (await asyncio.to_thread(serve.status)).applications.get(APP)
        return {str(k): n for d in status.deployments.values() for k, n in d.replica_states.items()} if status else {}

    async def facts(self) -> dict[str, dict[str, Any]]:
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            told = await self._handle.broadcast("facts").results_async(timeout_s=FACTS_S, return_exceptions=True)
            return dict(one for one in told if isinstance(one, tuple))
        return {}


async def _end(answer: DeploymentResponse, inbox: Inbox) -> None:
    """Puts why the parts will not come, if it is so."""
    try:
        await answer
    except LOST as error:
        inbox.put(ReplicaLost(type(error).__name__))
    except RayTaskError as error:
        LOG.error("a replica failed at a request", exc_info=error)
        inbox.put(ApiError(500, "the model failed", None, "model_error"))
