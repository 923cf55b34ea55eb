"""hfc eval: its arithmetic against textbook formulas, and the command against itself, other formats and saved logits."""

import json

import numpy as np
import pytest
from test_cli import bundle, folder, hfc  # noqa: F401  (fixtures)

from hfc.base.diagnostics import HfcError
from hfc.quality import Tally, chunks, evaluate


class Table:
    """A model whose logits are a row of a table for each token and position."""

    vocab, context, max_rows, max_outputs = 7, 64, 5, 3

    def __init__(self, seed):
        self.rows = np.random.default_rng(seed).normal(size=(64, 7, 7)).astype(np.float32)

    def forward(self, step):
        assert len(step.tokens) <= 3
        return self.rows[step.positions, step.tokens]


def test_figures_are_those_of_the_formulas():
    ours, theirs, tokens = Table(1), Table(2), np.random.default_rng(3).integers(0, 7, 23)
    pieces = chunks(tokens, 11)
    assert [len(p) for p in pieces] == [11, 11]  # the last token alone predicts nothing
    keep = np.zeros((22, 7), np.float32)
    found = evaluate(ours, pieces, theirs, keep=keep)
    p, q = (np.concatenate([np.exp(m.rows[np.arange(11), x].astype(float)) for x in pieces]) for m in (ours, theirs))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    known = [i for i in range(22) if i % 11 != 10]
    following = np.concatenate([x[1:] for x in pieces])
    assert found["tokens"] == 22
    assert found["perplexity"] == pytest.approx(np.prod(p[known, following] ** (-1 / 20)))
    assert found["perplexity_reference"] == pytest.approx(np.prod(q[known, following] ** (-1 / 20)))
    divergence = (q * np.log(q / p)).sum(1)
    assert found["kl_mean"] == pytest.approx(divergence.mean())
    assert found["kl_p99"] == pytest.approx(np.quantile(divergence, 0.99))
    assert found["top1_agreement"] == np.mean(p.argmax(1) == q.argmax(1))
    assert evaluate(theirs, pieces, keep)["kl_mean"] > 0.01
    assert evaluate(ours, pieces, keep)["kl_mean"] == 0


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(HfcError, match="row 1 of a step"):
        Tally().add(np.array([[0, 1], [np.nan, 1]], np.float32), np.array([0, 1]))


def test_command(hfc, bundle, folder, tmp_path):  # noqa: F811
    text, logits = tmp_path / "text.txt", tmp_path / "logits.npy"
    text.write_text("It was a dark and stormy night; the rain fell in torrents. " * 4)
    options = ("--text", text, "-n", 70, "--chunk", 32, "--json")
    code, out, err = hfc("eval", folder, *options, "--save", logits, "--against-device", "interpret")
    assert code == 0, err
    found = json.loads(out)
    assert found["tokens"] == 70 and found["kl_mean"] < 1e-6 and found["top1_agreement"] > 0.98
    again = json.loads(hfc("eval", folder, *options, "--against", logits)[1])
    assert again["kl_mean"] == 0 and again["perplexity"] == found["perplexity"]
    assert again["text_digest"] == found["text_digest"]
    code, _, err = hfc("eval", folder, "--text", text, "-n", 60, "--against", logits)
    assert code == 2 and "saved logits are float32 [70, 128]" in err
    assert hfc("eval", folder, "--text", logits)[0] == 2  # not UTF-8
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert "at least 2" in hfc("eval", folder, "--text", empty)[2]
    assert "perplexity " in hfc("eval", folder, "-n", 40)[1]
    stepped = json.loads(hfc("eval", folder, *options, "--decode-rows", 1, "--against", logits)[1])
    assert 0 < stepped["tokens"] == 70 and stepped["kl_mean"] < 1e-6
    assert "--decode-rows" in hfc("eval", folder, "--decode-rows", 17)[2]
