"""D10 on a GPU: rows that decode and rows of prompts take programs of their own, so they do not share a step."""

import asyncio

from serve_fakes import Device, FakeModel, ask, expected, make_engine

from hfc.step import DECODE_ROWS


class Programs(Device):
    """Remembers which program each step is for."""

    def __init__(self, **options):
        super().__init__(**options)
        self.programs = []

    def forward(self, step):
        self.programs.append((step.rows_class, len(step.tokens), step.prompts, [s.rows for s in step.segments]))
        return super().forward(step)


def serve(model, texts, tokens=12, **limits):
    async def main():
        engine = make_engine(model, **limits)
        answers = await asyncio.gather(*(ask(engine, text, tokens) for text in texts))
        engine.close()
        assert [answer for answer, _ in answers] == [
            expected(text.encode(), tokens, model.memory is not None) for text in texts
        ]

    asyncio.run(main())


def test_prompts_and_what_decodes_never_share_a_step():
    model = Programs(slots=24, max_rows=64, max_outputs=32, recurrent=True)
    # long answers: however many rows of prompts a step has time for, all slots decode together in the end
    serve(model, [f"{i} says " + "something " * (i % 7) for i in range(40)], tokens=120, prefill_rows=64)
    decoding = [rows for name, rows, prompts, _ in model.programs if not prompts]
    assert all(
        name == "decode" and rows == sum(parts) == len(parts)
        for name, rows, prompts, parts in model.programs
        if not prompts
    )
    assert all(name == "prefill" for name, _, prompts, _ in model.programs if prompts)
    assert max(decoding) == DECODE_ROWS < model.slots, (
        "more sequences than the decode program takes run in several steps"
    )
    model.programs.clear()
    serve(model, ["short"])
    assert model.programs[0] == ("prefill", 5, True, [5]), "a short prompt takes the order of prompts, too"


def test_a_device_with_one_program_runs_both_in_one_step():
    model = FakeModel(slots=3, max_rows=16, max_outputs=8)
    steps, forward = [], model.forward
    model.forward = lambda step: (steps.append(step), forward(step))[1]
    serve(model, ["one", "two of them", "three is the longest of them all"])
    assert any(step.prompts and any(s.rows == 1 and s.position for s in step.segments) for step in steps)
