"""A pipeline over cards: two software HIP devices that execute machine code, and one beside the CPU."""

import numpy as np
import pytest
from model_reference import MODELS, relative_error
from test_hip_device import TOKENS, library, several  # noqa: F401

pytest.importorskip("rocm.bindings.hip", reason="rocm-bindings-hip is not installed")


@pytest.mark.long
def test_two_cards_and_a_card_beside_the_cpu(library, tmp_path):  # noqa: F811
    """The runtime's own path: upload, hand-over from card to card and through the host, streams and tapes of two cards, and of one whose
    last layers the CPU runs."""
    model, sizes = str(MODELS / "qwen3_5_text"), ["--ctx", "64", "--draft", "off"]
    np.save(tmp_path / "tokens.npy", TOKENS)

    def compiled(name, *words):
        return ["compile", model, "-o", str(tmp_path / f"{name}.hfp"), *sizes, *words]

    def logits(bundle, name, devices, *words):
        ends = ["--tokens", str(tmp_path / "tokens.npy"), "--out", str(tmp_path / f"{name}.npy")]
        return ["logits", str(tmp_path / f"{bundle}.hfp"), *ends, "--devices", devices, *words]

    commands = [
        compiled("one", "--arch", "gfx1100", "--profile", "exact"),
        compiled("two", "--stages", "gfx1100:0-1,gfx1100:2", "--profile", "exact"),
        compiled("mixed", "--stages", "gfx1100:0,host:1-2"),
        compiled("apart", "--stages", "gfx1100:0,gfx1101:1-2", "--profile", "exact"),
        logits("one", "one", "hip:0"),
        logits("two", "two", "hip:0,hip:1"),
        logits("two", "numbers", "0,1", "--step"),
        logits("one", "steps", "hip:0", "--step"),
        logits("mixed", "mixed", "hip:0,host"),
        logits("apart", "apart", "hip:0,hip:2"),
        logits("two", "same", "hip:1,hip:1"),
        logits("two", "none", "hip:0,hip:3"),
        logits("two", "other", "hip:0,host"),
    ]
    found = several(library, [("gfx1100:1G,gfx1100:1G,gfx1101:1G", "", words) for words in commands])
    assert [code for code, _, _ in found] == [0] * 11 + [2, 2], found
    read = lambda name: np.load(tmp_path / f"{name}.npy")  # noqa: E731
    np.testing.assert_array_equal(read("two"), read("one"))
    np.testing.assert_array_equal(read("numbers"), read("steps"))
    assert relative_error(read("mixed"), read("one")) < 1e-2
    np.testing.assert_array_equal(read("same"), read("one"))
    # cards of one architecture hand on from memory to memory, others do not reach each other
    assert not any("through the host" in text for _, _, text in (*found[4:8], found[10])), found
    assert "(number 2) cannot read the memory of" in found[9][2] and "through the host" in found[9][2]
    assert relative_error(read("apart"), read("one")) < 1e-2
    assert "hip:3" in found[11][2] and "stage gfx1100:2-2 cannot run on host" in found[12][2]
