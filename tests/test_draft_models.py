"""Drafts in the interpreter equal the models that they were published with: hidden states, logits, tokens, candidates."""

import json
import shutil
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest
from model_reference import MODELS, SHARED
from safetensors.numpy import load_file, save_file

from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.cli import main
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.formats.checkpoint import open_checkpoint
from hfc.ir.verify import verify
from hfc.oracle import InterpretedModel
from hfc.runtime.executor import load
from hfc.runtime.registry import REGISTRY, RegistryEntry, cached_path
from hfc.runtime.source import find_source
from hfc.step import Segment, Step

assert ml_dtypes.bfloat16  # registers bfloat16 with numpy, which safetensors needs

DRAFTS = Path(__file__).parent / "data/drafts"
SMALL, OFFICIAL, TRAINED = (
    MODELS / "qwen3_5_text",
    SHARED / "qwen35-tiny-official",
    SHARED.parent / "models/qwen35-tiny-code",
)
CONTEXT = 96
BOUND = 1e-4  # absolute, of logits near 1; measured 7e-5 at most on the larger fixtures, 1e-5 on the small ones
shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the fixtures in {SHARED}")
PUBLISHED = [
    pytest.param(SMALL, DRAFTS / "dflash", id="dflash"),
    pytest.param(SMALL, DRAFTS / "dflash2", id="dflash2"),
    pytest.param(SMALL, DRAFTS / "dflash2/model.gguf", id="dflash2.gguf"),
    pytest.param(SMALL / "model.gguf", DRAFTS / "dflash2/model.gguf", id="both.gguf"),
    *(
        pytest.param(OFFICIAL, SHARED / name, id=name, marks=shared)
        for name in ("dflash-tiny", "dflash-tiny-swa", "dflash2-tiny")
    ),
]


def text_of(target: Path) -> np.ndarray:
    """The tokens that the references were made with: a prompt and what the target says behind it."""
    with np.load((target if target.is_dir() else target.parent) / "reference.npz") as reference:
        prompt = "p48." if "p48.tokens" in reference else ""
        return np.concatenate([reference[f"{prompt}tokens"], reference[f"{prompt}greedy_tokens"]]).astype(np.int32)


def reference_of(draft: Path) -> list[dict[str, np.ndarray]]:
    """The three drafts of a fixture, each behind more of the text."""
    with np.load((draft if draft.is_dir() else draft.parent) / "reference.npz") as reference:
        names = {"ctx_range": "context", "draft_hidden": "hidden", "draft_logits": "logits", "draft_tokens": "tokens"}
        found = [{}, {}, {}]
        for key in reference.files:
            number, name = key.split(".")
            found[int(number.removeprefix("s"))][names.get(name, name)] = reference[key]
        return found


@pytest.fixture(scope="session")
def small_mtp(tmp_path_factory) -> Path:
    """The small target with a head of its own in the checkpoint, as Qwen 3.5 is released."""
    folder = tmp_path_factory.mktemp("mtp")
    tensors = load_file(SMALL / "model.safetensors") | load_file(DRAFTS / "mtp/mtp.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((SMALL / "config.json").read_text()) | {"mtp_num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


GGUF_HEAD = {  # behind mtp. and blk.3., as llama.cpp's converter moves them; norms get their 1
    "fc": "nextn.eh_proj", "pre_fc_norm_embedding": "nextn.enorm", "pre_fc_norm_hidden": "nextn.hnorm", "norm": "nextn.shared_head_norm",
    "layers.0.input_layernorm": "attn_norm", "layers.0.post_attention_layernorm": "post_attention_norm",
    "layers.0.self_attn.q_proj": "attn_q", "layers.0.self_attn.k_proj": "attn_k", "layers.0.self_attn.v_proj": "attn_v",
    "layers.0.self_attn.o_proj": "attn_output", "layers.0.self_attn.q_norm": "attn_q_norm", "layers.0.self_attn.k_norm": "attn_k_norm",
    "layers.0.mlp.gate_proj": "ffn_gate", "layers.0.mlp.up_proj": "ffn_up", "layers.0.mlp.down_proj": "ffn_down",
}  # fmt: skip


@pytest.fixture(scope="session")
def small_mtp_gguf(tmp_path_factory) -> Path:
    """The same target and head as one GGUF."""
    path = tmp_path_factory.mktemp("mtp-gguf") / "model.gguf"
    writer = gguf.GGUFWriter(path, "qwen35")
    with open_checkpoint(SMALL / "model.gguf") as target:
        for key, value in {**target.config, "qwen35.block_count": 4, "qwen35.nextn_predict_layers": 1}.items():
            add = {list: writer.add_array, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[
                type(value)
            ]
            if key != "general.architecture" and not key.startswith("GGUF."):
                add(key, value)
        for name in target.names():
            write_tensor(writer, name, target.f32(name))
    for name, tensor in load_file(DRAFTS / "mtp/mtp.safetensors").items():
        stem = name.removeprefix("mtp.").removesuffix(".weight")
        write_tensor(writer, f"blk.3.{GGUF_HEAD[stem]}.weight", tensor.astype(np.float32) + ("norm" in stem))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray) -> None:
    if values.ndim == 1 or "conv1d" in name:
        writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
    else:
        bits = np.ascontiguousarray(values).astype(ml_dtypes.bfloat16).view(np.uint8)
        writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)


def interpreted(target: Path, draft: Path | str, slots: int = 1) -> InterpretedModel:
    return InterpretedModel(open_source(target, draft=draft), CONTEXT, slots)


@pytest.mark.parametrize("target, draft", PUBLISHED)
def test_three_drafts_behind_a_growing_text(target, draft):
    model, text = interpreted(target, draft), text_of(target)
    for expected in reference_of(draft):
        first, last = expected["context"]
        model.forward(Step.single(text[first:last], position=int(first), outputs="last"))
        graph = model.draft_graph
        (logits, tokens), values = model.interpreter.trace(Step.single(expected["block"], position=int(last)), graph)
        head = next(op for op in reversed(graph.ops) if op.kind == "linear" and op.output.type.shape[-1] == model.vocab)
        np.testing.assert_allclose(values[head.inputs[0]], expected["hidden"], atol=BOUND)
        np.testing.assert_allclose(logits[1:], expected["logits"], atol=BOUND)
        assert tokens.tolist() == [expected["block"][0], *expected["tokens"]]
        for op in graph.ops_of("top_candidates"):  # torch's topk leaves their order open
            np.testing.assert_array_equal(np.sort(values[op.outputs[1]][1:]), np.sort(expected["candidates"]))


def mtp_reference(target: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if target == OFFICIAL:
        with np.load(target / "reference.npz") as reference:
            found = {key.removeprefix("mtp.p48."): reference[key] for key in reference.files if key.startswith("mtp.")}
            return reference["p48.tokens"], {**found, "next_tokens": found["in_tokens"]}
    with np.load(DRAFTS / "mtp/reference.npz") as reference:
        return text_of(SMALL)[:24], dict(reference)


@pytest.mark.parametrize("kind", ["small_mtp", "small_mtp_gguf", pytest.param("official", marks=shared)])
def test_a_chain_of_four_tokens_from_the_model_s_own_head(kind, request):
    target = OFFICIAL if kind == "official" else request.getfixturevalue(kind)
    prompt, expected = mtp_reference(target)
    model = interpreted(target, "mtp")
    model.forward(Step.single(prompt))
    # what stands behind the anchor does not matter
    block = np.array([expected["next_tokens"][-1], 0, 0, 0, 0], np.int32)
    tokens, logits = model.draft(Step.single(block, position=len(prompt)))
    assert tokens.tolist() == [block[0], *expected["draft_tokens"]]
    np.testing.assert_allclose(logits[1:], expected["draft_logits"], atol=BOUND)


@pytest.mark.parametrize("official", [False, pytest.param(True, marks=shared)])
def test_the_head_s_logits_behind_every_token(official, small_mtp):
    """Its keys and values come from steps of the target, whatever their size; drafting in between leaves no trace."""
    target = OFFICIAL if official else small_mtp
    prompt, expected = mtp_reference(target)
    model = interpreted(target, "mtp")
    for at in range(len(prompt)):
        model.forward(Step.single(prompt[at : at + 1], position=at))
        _, logits = model.draft(Step.single([expected["next_tokens"][at], 0], position=at + 1))
        np.testing.assert_allclose(logits[1], expected["logits"][at], atol=BOUND)


def test_rows_that_wait_and_are_dropped_do_not_change_the_next_draft(small_mtp):
    """A verify step of which one row counts, then a draft: equal to a draft behind that row alone."""
    text, plain, verified = text_of(SMALL), interpreted(small_mtp, "mtp"), interpreted(small_mtp, "mtp")
    for model in (plain, verified):
        model.forward(Step.single(text[:10]))
    plain.forward(Step.single(text[10:11], position=10))
    rows = np.arange(4, dtype=np.int32)
    guessed = np.array([text[10], 5, 6, 7], np.int32)  # three wrong guesses
    verified.forward(Step(guessed, (Segment(0, 0, 4, 10, commit=False),), rows))
    block = np.array([text[11], 0, 0], np.int32)
    expected = plain.draft(Step(block, (Segment(0, 0, 3, 11, commit=False),), rows[:3]))
    found = verified.draft(Step(block, (Segment(0, 0, 3, 11, replay=1, commit=False),), rows[:3]))
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, atol=3e-5)  # numpy's sums depend on the number of rows


@pytest.mark.parametrize("name", ["dflash", "dflash2"])
def test_sequences_of_one_step_do_not_see_each_other(name):
    """Three blocks in one step equal three steps of one block."""
    text, prompts = text_of(SMALL), (5, 9, 14)
    together, alone = interpreted(SMALL, DRAFTS / name, slots=3), interpreted(SMALL, DRAFTS / name, slots=3)
    blocks, segments, expected = [], [], []
    for slot, length in enumerate(prompts):
        for model in (together, alone):
            model.forward(Step.single(text[:length], slot=slot))
        blocks.append(np.array([text[length], *[127] * 5], np.int32))
        segments.append(Segment(slot, 6 * slot, 6, length))
        expected.append(alone.draft(Step.single(blocks[-1], position=length, slot=slot)))
    tokens, logits = together.draft(Step(np.concatenate(blocks), tuple(segments), np.arange(18, dtype=np.int32)))
    np.testing.assert_array_equal(tokens, np.concatenate([t for t, _ in expected]))
    np.testing.assert_allclose(logits, np.concatenate([x for _, x in expected]), atol=1e-5)


@shared
def test_the_trained_pair_drafts_what_the_target_says():
    """Its draft was trained: behind a prompt of code the first guess is right more often than not (reference: 1.9 of a cycle)."""
    with np.load(TRAINED / "oracle.npz") as oracle:
        texts = oracle["logits_tokens"]
    right = 0
    for text in texts:
        model, length = InterpretedModel(open_source(TRAINED, draft=TRAINED / "draft"), 128), 64
        anchor = int(np.argmax(model.forward(Step.single(text[:length], outputs="last"))[0]))
        tokens, _ = model.draft(Step.single([anchor, *[3] * 15], position=length))
        row = model.forward(Step.single([anchor], position=length))[0]
        right += int(np.argmax(row)) == tokens[1]
    assert right > 0


@pytest.mark.sampled(2)
@pytest.mark.parametrize("target, draft", [*PUBLISHED[:3], pytest.param(SMALL, "mtp", id="mtp")])
def test_host_plans_hold_both_and_agree_with_the_interpreter(target, draft, small_mtp):
    target = small_mtp if draft == "mtp" else target
    bundle = compile_model(target, ["host"], CompileOptions(ctx=CONTEXT, draft=draft))
    plan = bundle.plans["host"]
    verify_shared_weights(plan)
    model, oracle, text = load(bundle, threads=2), interpreted(target, draft), text_of(SMALL)
    for first, last in ((0, 20), (20, 23), (23, 24)):
        step = Step.single(text[first:last], position=first, outputs="last")
        np.testing.assert_allclose(model.forward(step), oracle.forward(step), atol=2e-2)  # an f16 cache
        block = np.full(plan.draft.block, plan.draft.mask_token or 0, np.int32)
        block[0] = text[last]
        step = Step.single(block, position=last)
        (tokens, logits), (expected, near) = model.draft(step), oracle.draft(step)
        np.testing.assert_allclose(logits, near, atol=2e-2)
        assert tokens.tolist() == expected.tolist()
    model.close()


def verify_shared_weights(plan) -> None:
    """The embedding and the head are there once; what the draft gives out lies behind what both overwrite."""
    names = [w.name for w in plan.weights]
    assert len(names) == len(set(names)) and sum("embed" in n for n in names) == sum("lm_head" in n for n in names) == 1
    outputs = {plan.draft.logits, plan.draft.tokens}
    ends = [
        b.offset + b.row_bytes * (plan.max_rows if b.rows == "T" else plan.max_outputs)
        for b in plan.buffers
        if not b.name.startswith("draft.")
    ]
    assert min(b.offset for b in plan.buffers if b.name in outputs) >= max(ends)


def changed(tmp_path: Path, **settings) -> Path:
    """The small dflash draft with another config."""
    folder = tmp_path / "draft"
    folder.mkdir()
    config = json.loads((DRAFTS / "dflash/config.json").read_text())
    for key, value in settings.items():
        inner = config["dflash_config"] if key in ("mask_token_id", "target_layer_ids") else config
        inner[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"hidden_size": 96}, "the draft dflash was made for a target with a hidden size of 96; qwen3_5_text has 64"),
        ({"vocab_size": 256}, "a vocabulary of 256; qwen3_5_text has 128"),
        ({"num_target_layers": 8}, "a target with 8 layers; qwen3_5_text has 3"),
        ({"target_layer_ids": [1, 3]}, "reads layer 3 of its target; qwen3_5_text has layers 0 to 2"),
        ({"mask_token_id": None}, "no key 'mask_token_id', which the model needs"),
        ({"mask_token_id": 128}, "the mask token 128, which is not in a vocabulary of 128"),
        ({"block_size": 24}, "blocks of 24 tokens do not fit into the journal of 16 rows"),
        ({"block_size": 1}, "blocks of 1"),
        ({"layer_types": ["sliding_attention"] * 2, "sliding_window": None}, "sliding_window"),
    ],
)
def test_a_draft_for_another_target(settings, message, tmp_path):
    with pytest.raises(HfcError) as error:
        compile_model(SMALL, ["host"], CompileOptions(ctx=CONTEXT, draft=changed(tmp_path, **settings)))
    assert message in error.value.message + str(error.value)


def test_a_block_larger_than_the_plan(tmp_path):
    with pytest.raises(HfcError, match="blocks of 6 tokens do not fit into a plan of 4 rows"):
        compile_model(SMALL, ["host"], CompileOptions(ctx=CONTEXT, max_rows=4, draft=DRAFTS / "dflash"))


def test_drafts_and_targets_are_told_apart():
    with pytest.raises(HfcError, match="DFlashDraftModel is a draft"):
        open_source(DRAFTS / "dflash")
    with pytest.raises(HfcError, match="unknown kind of draft 'qwen3_5_text'"):
        open_source(SMALL, draft=SMALL)
    with pytest.raises(HfcError, match="unknown kind of draft 'llama_mtp'"):
        open_source(MODELS / "llama", draft="mtp")
    with pytest.raises(HfcError, match="mtp_num_hidden_layers"):
        open_source(SMALL, draft="mtp").pair()


def test_the_graphs_are_well_formed(small_mtp):
    for target, draft in ((SMALL, DRAFTS / "dflash"), (SMALL, DRAFTS / "dflash2"), (small_mtp, "mtp")):
        pair = open_source(target, draft=draft).pair()
        verify(pair.target)
        verify(pair.draft)
        assert [v.type.shape for v in pair.draft.outputs] == [("T", 128), ("T",)]


def test_auto_finds_what_belongs_to_the_target(tmp_path, small_mtp):
    """A folder `draft` inside comes first, then one beside it that bears its name, then a head in the checkpoint."""
    assert open_source(SMALL, draft="auto").draft is None
    assert open_source(small_mtp, draft="auto").draft.model.name == "qwen3_5_text_mtp"
    target = tmp_path / "Small"
    shutil.copytree(small_mtp, target)
    shutil.copytree(DRAFTS / "dflash2", tmp_path / "Small-DFlash2")
    assert open_source(target, draft="auto").draft.model.name == "dflash2"
    shutil.copy(DRAFTS / "dflash2/model.gguf", target / "draft.gguf")
    assert open_source(target, draft="auto").draft.path == target / "draft.gguf"
    shutil.copytree(DRAFTS / "dflash", target / "draft")
    assert open_source(target, draft="auto").draft.model.name == "dflash"


def test_auto_finds_a_draft_beside_a_model_of_the_registry(tmp_path, monkeypatch):
    """What `hfc pull` fetched lies in a folder of its own in the cache."""
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    entry = RegistryEntry("small:1", "", file="model.gguf", size_bytes=(SMALL / "model.gguf").stat().st_size)
    monkeypatch.setitem(REGISTRY._entries, entry.name, entry)
    cached_path(entry).parent.mkdir(parents=True)
    shutil.copy(SMALL / "model.gguf", cached_path(entry))
    source = find_source("small:1")
    assert open_source(source.path, draft="auto").draft is None
    shutil.copy(DRAFTS / "dflash2/model.gguf", cached_path(entry).parent / "draft.gguf")
    assert open_source(source.path, draft="auto").draft.model.name == "dflash2"


def test_a_draft_in_its_target_s_folder_moves_with_it(tmp_path):
    """A bundle made on one machine finds both with one --weights on another; a draft from elsewhere stays where it was."""
    made, elsewhere = tmp_path / "made", tmp_path / "elsewhere"
    shutil.copytree(SMALL, made)
    shutil.copytree(DRAFTS / "dflash", made / "draft")
    shutil.copytree(DRAFTS / "dflash", elsewhere)
    inside, outside = (
        compile_model(made, ["host"], CompileOptions(ctx=CONTEXT, draft=d)) for d in (made / "draft", elsewhere)
    )
    made.rename(tmp_path / "now")
    step = Step.single([5, 6, 7])
    first, second = (load(bundle, weights=tmp_path / "now").forward(step) for bundle in (inside, outside))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(HfcError, match="the weights that the bundle was compiled for are not there"):
        load(inside)
    shutil.rmtree(elsewhere)
    with pytest.raises(HfcError, match="elsewhere: the draft that the bundle was compiled with is not there"):
        load(outside, weights=tmp_path / "now")


def test_the_command_line_compiles_and_counts_drafts(tmp_path, capfd):
    def hfc(*arguments) -> str:
        with pytest.raises(SystemExit) as end:
            main(list(map(str, arguments)))
        assert not end.value.code
        return capfd.readouterr().out

    out = tmp_path / "pair.hfp"
    assert "drafts of dflash" in hfc("compile", SMALL, "-o", out, "--draft", DRAFTS / "dflash", "--ctx", 64)
    assert load_bundle(out).plans["host"].draft.block == 6
    plain, paired = (hfc("fit", SMALL, "--vram", "1G", "--ctx", 64, "--draft", d) for d in ("off", DRAFTS / "dflash"))
    per_token = [int(text.split("per token and slot")[1].split()[0].replace(",", "")) for text in (plain, paired)]
    assert per_token == [256, 768]  # one layer of the target, two of the draft: 2 heads of 32, keys and values, f16
