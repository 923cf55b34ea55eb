"""scripts/bench_turns.py: contenders take turns in both orders, and ratios are taken round by round."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("bench_turns", SCRIPTS / "bench_turns.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_turns", module)
    spec.loader.exec_module(module)
    return module


def test_ratios_are_of_one_round(monkeypatch, capsys):
    """A machine that becomes ten times slower from round to round changes no ratio; the first round does not count."""
    turns, order, speed = script(monkeypatch), [], {"n": 0}

    def contender(name, cost):
        def turn(tokens):
            order.append(name)
            speed["n"] += 1
            slow = 10.0 ** ((speed["n"] - 1) // 2)
            return cost * slow, cost

        return turn

    seen = turns.measured({"a": contender("a", 2.0), "b": contender("b", 3.0)}, rounds=3, tokens=8)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"] and len(seen["a"]) == 3
    turns.report(seen)
    b = [line for line in capsys.readouterr().out.splitlines() if line.startswith("b ")]
    assert all("1.50 (1.50 to 1.50) of the first" in line for line in b) and len(b) == 2


def test_a_caches_rows_are_repeated(monkeypatch):
    class State:
        name, shape, planes = "layers.0.kv", ("S", 2, "C", 4), {"k": 80, "v": 80}

    class Model:
        context = 10
        plan = type("Plan", (), {"states": [State]})
        bytes = {plane: np.zeros((1, 80), np.uint8) for plane in "kv"}

        def state(self, name, plane):
            return self.bytes[plane]

    model = Model()
    model.bytes["k"].reshape(2, 10, 4)[:, :4] = np.arange(4)[:, None] + 1
    script(monkeypatch).repeat(model, 4)
    assert model.bytes["k"].reshape(2, 10, 4)[1, :, 0].tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
