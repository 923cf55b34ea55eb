"""JSON schemas that packages of npm and PyPI ship, as formats of answers: what is accepted, loosened and refused, and whether every
text is valid. HFC_TEST_SCHEMAS names a folder of such packages, unpacked; long: each schema is compiled for a vocabulary."""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from serve_fakes import EOS, GREEDY, TEMPLATE, TOKENIZER, FakeModel, make_engine

from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.app import make_app
from hfc.serve.guides import NOT_ENFORCED
from hfc.serve.models import Models
from hfc.serve.schema import cleaned
from hfc.serve.served import Served, ServerSettings

jsonschema = pytest.importorskip("jsonschema", reason="of the extra `test`")
FOLDER = os.environ.get("HFC_TEST_SCHEMAS")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(FOLDER is None, reason="HFC_TEST_SCHEMAS names a folder of packages that ship JSON schemas"),
]
MOST, MOST_OF_A_PACKAGE, LARGEST = 600, 75, 200_000  # schemas, of one package, bytes
ENDS = b'"}],:'


class Scribbler(FakeModel):
    """Writes at random, the more towards an end the longer it writes, so that grammars are walked widely and texts end."""

    def __init__(self, **options):
        super().__init__(**options)
        self._random = np.random.default_rng(16)
        self._ends = np.zeros(self.vocab, np.float32)
        self._ends[list(ENDS)] = 1
        self._ends[EOS] = 2

    def forward(self, step):
        self._hidden = np.ones((len(step.tokens), 4), np.float32)
        logits = self._random.normal(0, 2, (len(step.output_rows), self.vocab)).astype(np.float32)
        written = np.array([step.positions[row] for row in step.output_rows], np.float32)
        return logits + (2 + written[:, None] / 150) * self._ends


def test_the_texts_of_real_schemas_are_valid():
    schemas = schemas_of(Path(FOLDER))
    assert len(schemas) > 100, f"{FOLDER} has {len(schemas)} schemas"

    async def main():
        engine = make_engine(Scribbler(slots=4, context=8192, max_rows=64, max_outputs=8), queue=16)
        app = make_app(Models([Served("scribbler", Vocabulary(TOKENIZER, TEMPLATE), engine, GREEDY)]), ServerSettings())
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=600
        ) as client:
            found, gate = {}, asyncio.Semaphore(4)

            async def one(name, schema):
                async with gate:
                    found[name] = await asked(client, schema)

            await asyncio.gather(*(one(name, schema) for name, schema in schemas.items()))
        engine.close()
        return found

    found = asyncio.run(main())
    counts = Counter()
    for name, (verdict, told) in sorted(found.items()):
        counts[verdict] += 1
        if verdict not in ("accepted: valid", "loosened: valid"):
            print(f"{verdict} | {name} | {told[:400]}")
    print(json.dumps(counts, indent=1, sort_keys=True))
    wrong = [name for name, (verdict, _) in found.items() if verdict.endswith("wrong")]
    assert not wrong, wrong


async def asked(client, schema):
    """The verdict on a schema, and what was said of it."""
    format = {"type": "json_schema", "json_schema": {"name": "real", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 6000, "response_format": format}
    response = await client.post("/v1/chat/completions", json={**body, "temperature": 0})
    if response.status_code != 200:
        return "refused", response.json()["error"]["message"]
    told = response.headers.get(NOT_ENFORCED, "")
    kind = "loosened" if told else "accepted"
    choice = response.json()["choices"][0]
    if choice["finish_reason"] == "length":
        return f"{kind}: no end", told
    value = json.loads(choice["message"]["content"])
    error = fault(value, schema)
    if error is None:
        return f"{kind}: valid", told
    if kind == "accepted":
        return "accepted: wrong", f"{error} in {choice['message']['content'][:300]}"
    if "all but the shape" in told:
        return "loosened: beyond what is enforced", f"{error} ; {told}"
    if error.startswith("not judged"):
        return "loosened: not judged", f"{error} ; {told}"
    enforced = fault(value, {"$schema": schema.get("$schema", ""), **cleaned(schema).schema})
    return ("loosened: wrong" if enforced else "loosened: beyond what is enforced"), f"{enforced or error} ; {told}"


def fault(value, schema):
    """What jsonschema says of a value; None where it is valid."""
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        error = next(validator(schema).iter_errors(value), None)
    except Exception as error:  # of references to other documents, regular expressions of JavaScript
        return f"not judged: {type(error).__name__}: {error}"
    return (
        None
        if error is None
        else f"{'/'.join(map(str, error.absolute_path))}: {error.message[:150]} ({'/'.join(map(str, error.absolute_schema_path))})"
    )


def schemas_of(folder):
    """Name -> schema, each once, some of each package."""
    out, seen, per = {}, set(), Counter()
    for path in sorted(folder.rglob("*.json")):
        parts = path.relative_to(folder).parts
        package = next((p for p in parts if p not in ("py", "npm", "node_modules")), "")
        package += "/" + parts[parts.index(package) + 1] if package.startswith("@") else ""
        if per[package] >= MOST_OF_A_PACKAGE or len(out) >= MOST or path.stat().st_size > LARGEST:
            continue
        text = path.read_bytes()
        try:
            schema = json.loads(text)
        except ValueError:
            continue
        if is_schema(schema) and text not in seen:
            seen.add(text)
            per[package] += 1
            out["/".join(parts)] = schema
    print(json.dumps(per, indent=1))
    return out


def is_schema(value):
    if not isinstance(value, dict):
        return False
    return "json-schema.org/" in str(value.get("$schema")) or (
        value.get("type") == "object" and isinstance(value.get("properties"), dict)
    )
