"""Requests in llama-server's own form: texts or token ids continued, and code filled in between a prefix and a suffix."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from hfc.serve.dialects import LLAMA
from hfc.serve.errors import ApiError
from hfc.serve.job import Job
from hfc.serve.parameters import FORBIDS, SamplingFields, TokenId, biases_of, check_prompt
from hfc.serve.prompt import encode, single_token
from hfc.serve.sequence import Sequence
from hfc.serve.served import Served, ServerSettings
from hfc.serve.tolerance import Tolerant

MOST_SEQUENCES = 64
FIM = (  # before the text, before the suffix, before what the model writes
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
)
FILE = "<|file_sep|>"  # before the name and text of another file


class TextPrompt(Tolerant, dialect=LLAMA, noun="prompt"):
    prompt_string: str


OnePrompt = str | TextPrompt | Annotated[list[TokenId | str], Field(min_length=1)]


class NativeRequest(SamplingFields, dialect=LLAMA):
    """llama-server's request. prompt: a text, token ids and texts mixed, or a list of such.  n_predict: -1 is no limit.

    n_probs: how many alternatives of each token to tell.  timings_per_token, return_progress: tell in a stream how fast it is, and how far
    the prompt.  response_fields: only these of the answer, "a/b" for one inside another."""

    model: str | None = None
    prompt: OnePrompt | Annotated[list[OnePrompt], Field(min_length=1)] = ""
    n_predict: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    max_tokens: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    n_probs: Annotated[int, Field(ge=0, le=100)] | None = None
    return_tokens: bool | None = None
    response_fields: list[str] | None = None
    stream: bool | None = None
    timings_per_token: bool | None = None
    return_progress: bool | None = None

    def biases(self, served: Served) -> dict[int, float]:
        """llama-server takes texts as keys too, and ignore_eos forbids the tokens that end an answer."""
        given = self.logit_bias
        if isinstance(given, dict):
            given = [(int(key) if key.isdecimal() else key, value) for key, value in given.items()]
        ends = dict.fromkeys(served.stop_ids, float(FORBIDS)) if self.ignore_eos else {}
        return {**biases_of(served, given or ()), **ends}

    @property
    def is_list(self) -> bool:
        """Whether several prompts were sent, even if it is one."""
        return isinstance(self.prompt, list) and any(isinstance(p, (list, TextPrompt)) for p in self.prompt)

    def prompts(self, served: Served) -> list[tuple[int, ...]]:
        given = self.prompt if self.is_list or _are_texts(self.prompt) else [self.prompt]
        return [tuple(_tokens(served, one)) for one in given]

    def jobs(self, served: Served, settings: ServerSettings) -> list[Job]:
        prompts = self.prompts(served)
        if len(prompts) > MOST_SEQUENCES:
            raise ApiError(400, f"{len(prompts)} prompts are more than {MOST_SEQUENCES}", "prompt", "invalid_value")
        for prompt in prompts:
            check_prompt(served, prompt, "prompt")
        most = served.most_tokens(self.n_predict if self.max_tokens is None else self.max_tokens)
        return [
            Job(
                prompt,
                self.sampling(served),
                most,
                self.stop_texts(),
                self.stop_ids(served),
                self.n_probs or None,
                guides=(*self.guides(served), *self.text_grammar(served)),
                marks=(len(prompt) - 1,),
                deadline_s=self.deadline_s(settings),
                penalize_prompt=self.penalizes_prompt(),
                tells_progress=bool(self.stream and self.return_progress),
            )
            for prompt in prompts
        ]

    def settings_of(self, served: Served, sequence: Sequence) -> dict[str, Any]:
        """What a request came to mean, in llama-server's names."""
        job, s = sequence.job, sequence.job.sampling
        most = -1 if job.max_tokens is None else job.max_tokens
        return {
            "n_predict": most, "seed": s.seed, "temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p, "min_p": s.min_p,
            "repeat_penalty": s.repeat_penalty, "repeat_last_n": s.repeat_window, "presence_penalty": s.presence_penalty,
            "frequency_penalty": s.frequency_penalty, "stop": list(job.stop_texts), "n_probs": self.n_probs or 0, "stream": bool(self.stream),
            "grammar": self.grammar or "", "max_tokens": most, "ignore_eos": bool(self.ignore_eos),
            "logit_bias": [{"token": t, "bias": None if v <= FORBIDS else v} for t, v in self.biases(served).items()],
        }  # fmt: skip


class ExtraFile(Tolerant, dialect=LLAMA, noun="input_extra"):
    filename: str = ""
    text: str


class InfillRequest(NativeRequest, dialect=LLAMA):
    """What stands before and after a gap, what the gap begins with (prompt), and other files."""

    prompt: str = ""
    input_prefix: str = ""
    input_suffix: str = ""
    input_extra: list[ExtraFile] | None = None

    @property
    def is_list(self) -> bool:
        return False

    def prompts(self, served: Served) -> list[tuple[int, ...]]:
        files: list[int] = []
        for extra in self.input_extra or ():
            mark = single_token(served, FILE)
            head = [] if mark is None else [mark]
            files += [*head, *encode(served, f"{extra.filename}\n{extra.text}\n")]
        return [(*files, *fill_in(served, self.input_prefix, self.input_suffix, self.prompt))]


def fill_in(served: Served, before: str, after: str, begun: str = "", param: str = "input_suffix") -> list[int]:
    """Tokens of a gap between two texts. ApiError 400 where the vocabulary knows no gaps."""
    for tags in FIM:  # not all tokenizers call them special
        prefix, suffix, middle = (single_token(served, tag) for tag in tags)
        if prefix is not None and suffix is not None and middle is not None and len({prefix, suffix, middle}) == 3:
            parts = (encode(served, text) for text in (before, after, begun))
            return [t for mark, part in zip((prefix, suffix, middle), parts) for t in (mark, *part)]
    raise ApiError(400, f"{served.name} has no tokens to fill in the middle", param, "unsupported_parameter")


def _are_texts(prompt: Any) -> bool:
    """Several texts are several prompts, texts among token ids are one."""
    return isinstance(prompt, list) and all(isinstance(p, str) for p in prompt)


def _tokens(served: Served, prompt: Any) -> list[int]:
    if isinstance(prompt, TextPrompt):
        return encode(served, prompt.prompt_string, frame=True)
    if isinstance(prompt, str):
        return encode(served, prompt, frame=True)
    return [t for part in prompt for t in ([part] if isinstance(part, int) else encode(served, part))]
