"""Seeded damage: to bytes, to text, and to JSON whose shape stays JSON."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

NUMBERS = [
    0,
    1,
    2,
    3,
    7,
    15,
    16,
    31,
    64,
    255,
    256,
    4095,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63,
    2**64 - 1,
]
ODD = [
    None,
    True,
    False,
    -1,
    0,
    1,
    1.5,
    2**31,
    2**63,
    10**30,
    1e300,
    "",
    "0",
    "f32",
    "\x00",
    "a/../b",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
]
DEEP = 3000  # levels; a parser that recurses on them must say so


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes, numbers of 1 to 8 bytes, pieces cut, doubled, moved; sometimes the end is missing."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(out) + 1), rng.randrange(7)
        length = rng.choice((1, 2, 4, 8, 16, rng.randrange(1, 64)))
        if kind <= 1 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 2:
            code, width = rng.choice((("<B", 1), ("<H", 2), ("<I", 4), ("<Q", 8)))
            out[at : at + width] = struct.pack(code, rng.choice(NUMBERS) % (1 << 8 * width))
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        elif kind == 5 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 6 and rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def mutated_text(data: bytes, rng: random.Random) -> bytes:
    """As bytes, and with lines and words moved, doubled and nested."""
    if rng.random() < 0.4:
        return mutated_bytes(data, rng)
    text = data.decode("utf-8", "replace")
    for _ in range(rng.randint(1, 3)):
        words = text.split(" ")
        at, other = rng.randrange(len(words)), rng.randrange(len(words))
        kind = rng.randrange(5)
        if kind == 0:
            words[at] = words[other]
        elif kind == 1:
            words.insert(at, words[other])
        elif kind == 2:
            words[at] = str(rng.choice(NUMBERS))
        elif kind == 3:
            words[at] = rng.choice("([{") * rng.choice((1, 2, 50)) + words[at]
        else:
            del words[at]
        text = " ".join(words) or " "
    return text.encode()


def mutated_json(value: Any, rng: random.Random, changes: int | None = None) -> Any:
    """A copy with values of another type, other numbers, keys lost and doubled, lists of other lengths."""
    value = copy.deepcopy(value)
    for _ in range(changes or rng.randint(1, 3)):
        value = _change(value, rng)
    return value


def mutated_json_text(data: bytes, rng: random.Random) -> bytes:
    """JSON damaged in its values, in its text, or nested deeply."""
    kind = rng.random()
    if kind < 0.15:
        return mutated_text(data, rng)
    if kind < 0.155:
        return b'{"a":' * DEEP + b"1" + b"}" * DEEP
    return json.dumps(mutated_json(json.loads(data), rng)).encode()


def _places(value: Any, rng: random.Random) -> tuple[Any, Any]:
    """A random (container, key) of a JSON value, nearer to the leaves as chance has it."""
    container, key = None, None
    while isinstance(value, (dict, list)) and value:
        container, key = value, rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = container[key]
        if rng.random() < 0.05:
            break
    return container, key


def _change(value: Any, rng: random.Random) -> Any:
    container, key = _places(value, rng)
    if container is None:
        return rng.choice(ODD)
    old, kind = container[key], rng.randrange(10)
    if kind == 0:
        container[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == 1:
        del container[key]
    elif kind == 2:
        other, at = _places(value, rng)
        container[key] = copy.deepcopy(other[at])
    elif kind == 3 and isinstance(container, list):
        container.insert(key, copy.deepcopy(old))
    elif isinstance(old, bool):
        container[key] = not old
    elif isinstance(old, int):
        container[key] = rng.choice(
            (old + 1, old - 1, -old, old * 2, old // 2, old + 256, old * 1000, rng.choice(NUMBERS))
        )
    elif isinstance(old, float):
        container[key] = rng.choice((0.0, -old, old * 1e6, 1e-30, 1e38))
    elif isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        container[key] = rng.choice((old[:at], old + old, old[:at] + chr(rng.randrange(1, 300)) + old[at:], ""))
    elif isinstance(container, dict):
        container[str(key) + "x"] = container.pop(key)
    return value
