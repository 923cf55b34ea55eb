"""What `hfc serve` was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class ServeOptions:
    """What `hfc serve` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/serve.py)."""

    model: list[str] | None
    models: Path | None
    host: str
    port: int
    daemon: bool
    slots: int | None
    ctx: int | None
    kv: str | None
    profile: str | None
    device: str
    experts: str | None
    tensor_parallel: int | None
    threads: int | None
    weights: str | None
    trust: bool
    random_weights: bool
    draft: str
    name: str | None
    alias: list[str] | None
    memory_mb: int | None
    idle_unload_s: float | None
    cache_mb: int | None
    cache_dir: Path | None
    cache_dir_mb: int | None
    device_cache_mb: int | None
    queue: int
    max_wait_s: float | None
    prefill_rows: int | None
    api_key: list[str] | None
    api_key_file: Path | None
    priority_key_file: Path | None
    cors: list[str] | None
    tls_cert: Path | None
    tls_key: Path | None
    timeout_s: float
    drain_s: float
    ray: dict[str, Any]
    limits: dict[str, float]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    max_tokens: int | None
    chat_template: Path | None
    think: bool | None
    variables: list[str] | None

    @property
    def sampling(self) -> dict[str, float | None]:
        """What was said about choosing tokens, over what each model recommends."""
        return {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"
