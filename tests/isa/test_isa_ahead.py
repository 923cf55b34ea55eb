"""Generation one step ahead of the host, by machine code: the tape, the double step buffer and the sample kernel, through the emulator."""

from types import SimpleNamespace

import pytest
from model_reference import MODELS
from test_isa_rocblas import POINTERS, EmulatingDriver

from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.runtime.generate import Generation, Request
from hfc.runtime.gpu import GpuModel
from hfc.runtime.kept import KeptPrompt
from hfc.runtime.sampler import Sampling
from hfc.runtime.slots import slot_states
from hfc.runtime.upload import CheckpointWeights

ARCH, CONTEXT = "gfx1100", 64
PROMPT = (5, 40, 7, 99, 23)
GREEDY, SAMPLED = Sampling(temperature=0), Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=8)


class Text:
    """Each token is its number; `stop_ids` end an answer."""

    def __init__(self, *stop_ids):
        self.stop_ids = frozenset(stop_ids)

    def stream(self):
        return SimpleNamespace(push=lambda token: f"{token} ", close=lambda: "")


@pytest.fixture(scope="module", params=["llama", "qwen3_5_text"])
def model(request):
    path = MODELS / request.param
    bundle = compile_model(path, [ARCH], CompileOptions(ctx=CONTEXT, max_rows=16))
    plan = bundle.plans[ARCH]
    POINTERS.update({x.kernel: len(x.pointers) for program in plan.programs.values() for x in program})
    weights = CheckpointWeights(open_source(path).checkpoint, CONTEXT)
    opened = GpuModel(bundle, plan, EmulatingDriver(ARCH), weights)
    yield opened
    opened.close()


def answer(model, ahead, prompt=PROMPT, sampling=GREEDY, count=6, stop=(), stops=(), kept=None, boundary=0):
    model.runs_ahead = ahead
    generation = Generation(model, Text(*stop), Request(prompt, sampling, count, stops, boundary=boundary), kept=kept)
    text = "".join(generation)
    return text, generation.statistics.tokens, generation.statistics.reason


def test_tokens_and_turns_are_those_of_one_step_after_the_other(model):
    assert model.runs_ahead
    plain, sampled = (answer(model, False, sampling=s) for s in (GREEDY, SAMPLED))
    assert answer(model, True) == plain and answer(model, True, sampling=SAMPLED) == sampled
    tokens = sampled[1]
    assert len(set(tokens)) > 3
    kept = KeptPrompt(slot_states(model))
    stopped = answer(model, True, sampling=SAMPLED, stop=tokens[3:4], kept=kept, boundary=3)
    assert stopped[1:] == (tokens[: tokens.index(tokens[3]) + 1], "end")
    turn = (*PROMPT[:3], 11, 12, 13)
    assert answer(model, True, turn, SAMPLED, 3, kept=kept) == answer(model, False, turn, SAMPLED, 3)
    cut = answer(model, True, sampling=SAMPLED, stops=(f"{tokens[2]} {tokens[3]}",))
    assert cut[2] == "stop text" and cut[1] == tokens[:4]


def test_an_answer_ends_with_the_context(model):
    prompt = tuple(range(2, CONTEXT - 1))
    ends = [answer(model, ahead, prompt, count=None) for ahead in (True, False)]
    assert ends[0] == ends[1] and ends[0][2] == "context full" and len(ends[0][1]) == 4


def test_an_interrupted_answer_leaves_nothing_on_its_way(model):
    model.runs_ahead = True
    pieces = iter(Generation(model, Text(), Request(PROMPT, GREEDY, 20)))
    next(pieces), next(pieces)
    pieces.close()
    assert not any(lane.queued for lane in model._lanes._lanes)
    assert answer(model, True, count=2) == answer(model, False, count=2)
