"""The small Llama of tests/data with a vocabulary of one token a visible character: a model that runs in a second."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from hfc.runtime.tokenizer_library import byte_level_alphabet

DATA = Path(__file__).parent / "data"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def letters_folder(target: Path, template: str | None = None, piece: Callable[[str], str] = lambda text: text) -> Path:
    """A checkpoint folder; tokens 0 and 1 are <begin> and <end>. piece: the text of each other token by its character."""
    target.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(DATA / "models" / "llama" / name, target)
    letters = {byte: c for c, byte in byte_level_alphabet().items()}
    spelled = lambda text: "".join(letters[byte] for byte in text.encode())  # noqa: E731
    vocab = {"<begin>": 0, "<end>": 1} | {spelled(piece(chr(b))): i + 2 for i, b in enumerate([10, *range(32, 127)])}
    library = tokenizers.Tokenizer(models.BPE(vocab, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<begin>", "<end>"])
    library.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    if template is not None:
        (target / "chat_template.jinja").write_text(template)
    return target
