"""`--device interpret`: the model's graph run by the interpreter."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.cli.open_model import ModelChoice, OpenModel
from hfc.compiler import DEFAULT_CONTEXT, open_source, source_of
from hfc.oracle import InterpretedModel
from hfc.runtime.source import Source
from hfc.runtime.vocabulary import load_vocabulary


def open_interpreted(source: Source, choice: ModelChoice, with_vocabulary: bool) -> OpenModel:
    """A bundle is interpreted from the model file that it carries and the checkpoint that it names."""
    if choice.kv not in (None, "f32"):
        raise HfcError(f"--kv {choice.kv}: the interpreter keeps its cache in f32", hint="leave --kv out")
    path, context = source.path, choice.context
    if source.kind == "bundle":
        bundle = load_bundle(path)
        opened, context = source_of(bundle, choice.weights), context or next(iter(bundle.plans.values())).context
    else:
        opened = open_source(path, choice.weights)
    if (context or 1) > opened.context_limit:
        limit = opened.context_limit
        raise HfcError(
            f"context {context}: {opened.path} was made for at most {limit} tokens", hint=f"--ctx {limit} or less"
        )
    model = InterpretedModel(opened, context or min(DEFAULT_CONTEXT, opened.context_limit))
    return OpenModel(model, None, load_vocabulary(opened.path) if with_vocabulary else None)
