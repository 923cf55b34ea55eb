"""The layer table of docs/ARCHITECTURE.md, enforced on the imports of every module."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hfc"
LEAF = {"base", "step", "sampling", "pointer", "program"}
FACTS = {"plan", "bundles", "formats", "target", "ir"}
# layer: what it may import besides itself
LAYERS = {
    "base": set(),
    "step": {"base"},
    "sampling": {"base"},
    "pointer": set(),
    "program": set(),
    "quality": {"base", "step"},
    "formats": LEAF,
    "target": LEAF,
    "ir": LEAF | {"formats"},
    "plan": LEAF | {"formats"},
    "bundles": LEAF | {"plan", "formats", "target"},
    "frontend": LEAF | {"ir", "formats"},
    "passes": LEAF | {"ir", "target", "formats"},
    "backend": LEAF | FACTS | {"passes"},
    "runtime": LEAF | {"bundles", "plan", "formats", "target"},
    "serve": LEAF | {"runtime", "bundles", "plan", "formats", "target"},
    "compiler": LEAF | FACTS | {"frontend", "passes", "backend"},
    "isa": {"base"},
    "emulated": LEAF | {"isa", "bundles", "plan", "runtime", "formats", "target"},
    "predict": LEAF | {"isa", "plan", "runtime", "formats", "target"},
    "oracle": LEAF | {"compiler", "ir", "formats"},
    "quantize": LEAF | {"formats"},
    "editor": LEAF | {"frontend", "ir", "formats"},
    "calibrate": LEAF | {"compiler", "frontend", "ir", "formats", "quantize"},
    "selftest": LEAF | FACTS | {"backend", "runtime"},
    "matrix": LEAF | FACTS | {"backend", "compiler", "frontend", "passes", "runtime"},
    "tune": LEAF | FACTS | {"backend", "passes", "runtime"},
    "workbench": LEAF | FACTS | {"backend", "compiler", "passes", "runtime"},
    "cli": LEAF
    | FACTS
    | {
        "workbench",
        "tune",
        "frontend",
        "passes",
        "backend",
        "runtime",
        "compiler",
        "oracle",
        "emulated",
        "predict",
        "matrix",
        "quality",
        "quantize",
        "calibrate",
        "selftest",
        "serve",
        "editor",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, full module name) of every import of hfc; `from hfc.a import b` counts as hfc.a."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            names = [f"hfc.{a.name}" for a in node.names] if node.module == "hfc" else [node.module]
            found += [(node.lineno, name) for name in names]
    return [(line, name) for line, name in found if name.split(".")[0] == "hfc"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    layer = layer_of(path)
    assert layer in LAYERS, f"{layer} is not in the layer table"
    for line, name in imports_of(ast.parse(path.read_text())):
        imported = name.split(".")[1] if "." in name else "__init__"
        allowed = LAYERS[layer] | {layer, "__init__", "__version__"}
        assert imported in allowed, f"{path.relative_to(ROOT)}:{line}: {layer} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_stand_at_the_top(path):
    functions = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    inside = [n.lineno for f in functions for n in ast.walk(f) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert not inside, f"{path.relative_to(ROOT)}: imports inside functions at lines {inside}"


def test_modules_are_imported_by_name_in_few_places():
    """Where a command is called, and where the modules of a package are discovered."""
    allowed = {
        "__main__.py",
        "cli/__init__.py",
        "cli/settings.py",  # what a command takes, without the command
        "cli/config.py",
        "cli/completion.py",
        "cli/check_logits.py",  # torch and transformers, where they are installed
        "cli/open_model.py",  # --device interpret: the compiler's side; what talks to the hub
        "runtime/executor.py",  # a vendor's package when a card is opened
        "runtime/pipeline/process.py",  # multiprocessing, where a stage is a process: 15 ms of every start
        "runtime/devices.py",  # the same, when cards are listed
        "cli/run.py",  # the chat's packages, where there is no prompt
        "cli/serve.py",  # what deploys replicas, where they are asked for
        "cli/serve_ray.py",  # Ray, where it is installed
        "serve/app.py",
        "formats/grid.py",  # gguf, for types that few files have
        "isa/tables.py",
        "backend/skeletons/__init__.py",
        "ir/ops/__init__.py",
        "formats/__init__.py",
        "base/progress.py",  # rich, where a bar is shown
        "runtime/tokenizer_gguf.py",  # sentencepiece, where a vocabulary is one
    }
    found = {str(p.relative_to(PACKAGE)) for p in MODULES if "importlib.import_module(" in p.read_text()}
    assert found <= allowed


def test_the_backend_knows_only_the_settings_of_the_passes():
    for path in (PACKAGE / "backend").rglob("*.py"):
        names = {name for _, name in imports_of(ast.parse(path.read_text())) if name.startswith("hfc.passes")}
        assert names <= {"hfc.passes.settings"}, path


def test_every_layer_is_described():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    for layer in LAYERS.keys() - {"__main__", "__init__"}:
        assert layer in text, f"docs/ARCHITECTURE.md does not mention {layer}"


IDENTITY = re.compile(
    r"arch\.(?:kind|platform|platform\.name|name) *(?:==|!=|in\b|is\b)|arch\.name\.startswith|\bvgprs *=="
)


def test_nothing_asks_who_the_hardware_is():
    """Outside of target/: capabilities of an arch's row and its platform's, never identities."""
    sources = [p for p in (*MODULES, *PACKAGE.rglob("*.j2")) if layer_of(p) != "target"]
    asked = {str(p.relative_to(PACKAGE)): found for p in sources if (found := IDENTITY.findall(p.read_text()))}
    assert not asked, "a fact of Arch or Platform is missing"


def test_files_stay_short():
    sources = [p for folder in ("hfc", "tests", "scripts") for p in (ROOT / folder).rglob("*.py")]
    too_long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) > 400}
    assert not too_long, "over 400 lines: split by noun"


def test_functions_fit_a_screen():
    too_long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno >= 60:
                too_long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    assert not too_long, "over 60 lines"


def test_running_a_bundle_loads_no_compiler():
    code = "import sys, hfc.cli.run; print(' '.join(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "hfc.runtime.executor" in loaded
    heavy = {"lark", "networkx", "torch", "transformers", "gguf", "hfc.compiler", "hfc.oracle"}
    layers = {"hfc.ir", "hfc.frontend", "hfc.passes", "hfc.backend"}
    assert not loaded & (heavy | layers)


def test_a_class_name_is_used_once():
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert not shared, "one name, one thing"
