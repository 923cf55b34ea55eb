#!/usr/bin/env bash
# What: byte tokens that are no whole text, decoded by the ByteFallback decoder of tokenizers 0.23.3 (with the decoders of Llama 2's
#   tokenizer.json) and by sentencepiece 0.2.3, over one vocabulary; and DecodeStream of tokenizers, token by token.
# Seen: a run of byte tokens is taken as a whole. If its last character is cut, every byte of the run becomes U+FFFD: a whole character
#   and two bytes of the next are five of them, "$" and a stray byte two. sentencepiece keeps the whole character and the "$". DecodeStream gives out
#   "$" at once, since it was valid then, and raises at the next word: what it said is no longer what decode says.
# Why a good guess is wrong: UTF-8 is decoded character by character everywhere else, and the decoder exists to do what sentencepiece does.
#   An answer that ends at its limit loses the characters in front of the cut, not the cut one: all of a sentence in a script that the
#   vocabulary has no pieces for.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "tokenizers==0.23.3" "sentencepiece==0.2.3"
cat > "$work/show.py" <<'PY'
import io

import sentencepiece
import tokenizers
from tokenizers import Tokenizer, decoders, models

made = io.BytesIO()
lines = ["hello world this is a small text to train with", "the quick brown fox jumps over the lazy dog"] * 20
sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=made, vocab_size=300, model_type="bpe",
                                         byte_fallback=True, minloglevel=2)
reference = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
pieces = [reference.id_to_piece(i) for i in range(reference.get_piece_size())]
ours = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[], byte_fallback=True, unk_token="<unk>"))
ours.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])

def ids_of(data):
    return [reference.piece_to_id(f"<0x{byte:02X}>") for byte in data]

print("tokenizers", tokenizers.__version__, "sentencepiece", sentencepiece.__version__)
whole = "\u4e16\u754c".encode()
CASES = [  # bytes, tokenizers, sentencepiece
    (whole, "\u4e16\u754c", "\u4e16\u754c"), (whole[:5], "\ufffd" * 5, "\u4e16\ufffd\ufffd"),
    (b"$\x96", "\ufffd\ufffd", "$\ufffd"), (b"\x96$", "\ufffd\ufffd", "\ufffd$"),
]
for data, expected, other in CASES:
    found, theirs = ours.decode(ids_of(data)), reference.decode(ids_of(data))
    print(f"{data!r}: tokenizers {ascii(found)}, sentencepiece {ascii(theirs)}")
    assert (found, theirs) == (expected, other), "the behaviour has changed"
stream, said = decoders.DecodeStream(), []
try:
    for token in [*ids_of(b"$\x96"), reference.piece_to_id("a")]:
        said.append(stream.step(ours, token))
except Exception as error:
    said.append(f"raises: {str(error).split('.')[0]}")
print("token by token:", ascii(said))
assert said[0] == "$" and said[1] is None and said[2].startswith("raises: Invalid prefix"), "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"
