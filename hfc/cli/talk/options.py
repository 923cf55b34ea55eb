"""What `hfc chat` takes, and `hfc run` beside its prompt: how to answer, and with which model."""

from __future__ import annotations

from typing import Any

from hfc.base.dataclass import dataclass
from hfc.cli.choice import ModelChoice
from hfc.cli.sampling import GIVEN, template_variables


@dataclass(frozen=True)
class TalkOptions:
    """A field for each parameter of cli/usage/chat.py, where their meaning stands."""

    model: str
    system: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    seed: int | None
    max_tokens: int | None
    think: bool | None
    variables: list[str] | None
    ctx: int | None
    kv: str | None
    profile: str | None
    threads: int | None
    device: str
    experts: str | None
    tensor_parallel: int | None
    draft: str
    weights: str | None
    trust: bool

    @property
    def sampling(self) -> dict[str, float | int | None]:
        """What was said about choosing tokens, over what the model recommends."""
        return {name: getattr(self, name) for name in GIVEN}

    @property
    def choice(self) -> ModelChoice:
        return ModelChoice(
            self.device, self.threads, self.ctx, self.kv, self.weights, draft=self.draft, trust=self.trust,
            fits_memory=True, profile=self.profile, experts=self.experts, tensor_parallel=self.tensor_parallel,
        )  # fmt: skip

    def template_variables(self) -> dict[str, Any]:
        """HfcError for names that are the template's own."""
        return template_variables(self.variables, self.think)
