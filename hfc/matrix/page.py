"""The cells as a page: sections of text and tables, written as Markdown or HTML, and the same facts as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from hfc.base.dataclass import dataclass
from hfc.formats import FORMATS
from hfc.matrix.cells import Cell
from hfc.matrix.results import MatrixRecord, verdict
from hfc.target.platform import NVIDIA_PLATFORM
from hfc.target.timing import RDNA2, RDNA3

TITLE = "What compiles for what"
INTRO = (
    "Written by `hfc matrix`. Every kernel of a cell was compiled for its architecture and kept every gate of "
    "hfc/backend/gates.py: no scratch, no spills, LDS and occupancy within limits, no flat access in a loop, loads as wide "
    "as declared, promised instructions present. Without options all combinations; `--in-turn`: every weight format on every "
    "architecture, models and KV formats in turn; `--quick`: few layers, and as few cells as have every model, architecture, weight "
    "and KV format at least once (what `.ci/run` compiles)."
)
LEGEND = (
    "✓ compiled · e also its kernels as machine code in the emulator · E the whole model in the emulator · M measured on a card · "
    "– refused, reasons below · ✗ failed · ! a recorded result differs from the interpreter · blank: not part of this run"
)
PREDICTED = (
    "Tokens a second that no implementation of these plans can exceed: for each launch the longer of bytes / bandwidth and "
    f"operations / rate, plus the gap between launches ({RDNA3.launch_us} µs on RDNA3 and 4, {RDNA2.launch_us} on RDNA2, whose figure is taken "
    f"for RDNA1, GCN and CDNA, {NVIDIA_PLATFORM.launch_us} where graphs are captured). Decode is one sequence at full context (4096 tokens), prefill a "
    "first prompt of "
    "512. Kernels do not reach these figures, `hfc predict` says what they reach; a blank does not fit into the card's memory."
)


@dataclass(frozen=True)
class Section:
    """A title, a paragraph (may be empty), a table (rows may be empty)."""

    title: str
    text: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def sections(cells: Sequence[Cell], records: Sequence[MatrixRecord]) -> list[Section]:
    counts = {status: sum(c.status == status for c in cells) for status in ("compiled", "refused", "failed")}
    summary = ", ".join(f"{n} {status}" for status, n in counts.items())
    made = [Section("Summary", f"{len(cells)} cells: {summary}.\n\n{LEGEND}")]
    made += [_grid(model, rows, records) for model, rows in _by(cells, lambda c: c.place.model).items()]
    made += [_reasons(cells, "failed", "Failed"), _reasons(cells, "refused", "Refused"), _resources(cells)]
    made += [Section("Bounds", PREDICTED)] if any(c.bounds for c in cells) else []
    made += [_predictions(model, rows) for model, rows in _by(cells, lambda c: c.place.model).items()]
    measured = [r for r in records if r.kind == "measured"]
    if measured:
        rows = tuple(
            (
                r.card or r.arch or "",
                r.model or "",
                r.weights or "",
                r.kv or "",
                _number(r.decode_tok_s),
                _number(r.prefill_tok_s),
                r.what,
            )
            for r in measured
        )
        made.append(
            Section("Measured", "", ("card", "model", "weights", "KV", "decode tok/s", "prefill tok/s", ""), rows)
        )
    return [section for section in made if section.rows or section.text]


def _by(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def _grid(model: str, cells: list[Cell], records: Sequence[MatrixRecord]) -> Section:
    """Architectures down, weight formats across; KV formats that agree share one sign."""
    formats = _formats(cells)
    rows = []
    for arch, here in _by(cells, lambda c: c.place.arch).items():
        signs = {name: _sign([c for c in here if c.place.weights == name], records) for name in formats}
        rows.append((arch, *signs.values()))
    kvs = ", ".join(_by(cells, lambda c: c.place.kv))
    return Section(model, f"KV formats: {kvs}.", ("", *formats), tuple(rows))


def _sign(cells: list[Cell], records: Sequence[MatrixRecord]) -> str:
    """One sign; where KV formats differ, that of most of them, and each other with the formats that it is for."""
    found = _by(cells, lambda cell: _sign_of(cell, records))
    most = [sign for sign, here in found.items() if 2 * len(here) > len(cells)]
    return " ".join([*most, *(f"{_list(here, 'kv')} {sign}" for sign, here in found.items() if sign not in most)])


def _sign_of(cell: Cell, records: Sequence[MatrixRecord]) -> str:
    if cell.status != "compiled":
        return {"refused": "–", "failed": "✗"}[cell.status]
    emulated, measured = (verdict(records, kind, cell.place) for kind in ("emulated", "measured"))
    if "different" in (emulated, measured):
        return "!"
    return "✓" + {"kernels": "e", "equal": "E"}.get(emulated, "") + ("M" if measured else "")


def _reasons(cells: Sequence[Cell], status: str, title: str) -> Section:
    """Each reason once, with the models and formats that it holds for, and the architectures unless it is all of them."""
    every = {c.place.arch for c in cells}
    rows = []
    for why, found in _by((c for c in cells if c.status == status), lambda c: c.why).items():
        for model, here in _by(found, lambda c: c.place.model).items():
            archs = list(_by(here, lambda c: c.place.arch))
            rows.append(
                (
                    model,
                    _list(here, "weights"),
                    _list(here, "kv"),
                    "all" if set(archs) == every else ", ".join(archs),
                    why,
                )
            )
    return Section(title, "", ("model", "weights", "KV", "architectures", "reason"), tuple(rows))


def _formats(cells: Sequence[Cell]) -> list[str]:
    """The weight formats of the cells, by bits a weight."""
    return sorted({c.place.weights for c in cells}, key=lambda name: (FORMATS[name].bits_per_weight, name))


def _list(cells: Iterable[Cell], field: str) -> str:
    return ", ".join(_by(cells, lambda c: getattr(c.place, field)))


def _resources(cells: Sequence[Cell]) -> Section:
    """The kernels that need most, over all formats of a model."""
    rows = []
    for (model, arch), here in _pairs(cells).items():
        launches = max(c.launches for c in here)
        waves = [c.waves for c in here if c.waves is not None]
        vgprs = [c.vgprs for c in here if c.vgprs is not None]
        kernels = max(c.kernels for c in here)
        figures = (
            kernels,
            max(vgprs, default=None),
            max(c.lds_bytes for c in here),
            min(waves, default=None),
            launches or None,
        )
        rows.append((model, arch, *map(_number, figures)))
    header = (
        "model",
        "arch",
        "kernels",
        "most VGPRs",
        "most LDS bytes",
        "fewest waves a SIMD",
        "launches a decoded token",
    )
    return Section("Resources", "The most that any kernel needs, over all formats.", header, tuple(rows))


def _pairs(cells: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.status == "compiled":
            groups.setdefault((cell.place.model, cell.place.arch), []).append(cell)
    return groups


def _predictions(model: str, cells: list[Cell]) -> Section:
    """Cards down, weight formats across: decode / prefill, for the first KV format."""
    cells = [c for c in cells if c.bounds and c.place.kv == cells[0].place.kv]
    formats = _formats(cells)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        for bound in cell.bounds:
            text = "" if bound.decode_tok_s is None else f"{bound.decode_tok_s:.0f} / {bound.prefill_tok_s:.0f}"
            rows.setdefault((bound.card, cell.place.arch), {})[cell.place.weights] = text
    made = tuple((card, arch, *(found.get(f, "") for f in formats)) for (card, arch), found in rows.items())
    return Section(f"{model}: decode / prefill tok/s", "", ("card", "arch", *formats), made)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def as_markdown(cells: Sequence[Cell], records: Sequence[MatrixRecord]) -> str:
    lines = [f"# {TITLE}", "", INTRO]
    for section in sections(cells, records):
        lines += ["", f"## {section.title}"] + (["", section.text] if section.text else [])
        if section.rows:
            lines += ["", _bar(section.header), _bar(["---"] * len(section.header)), *map(_bar, section.rows)]
    return "\n".join(lines) + "\n"


def _bar(words: Iterable[str]) -> str:
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


def as_html(cells: Sequence[Cell], records: Sequence[MatrixRecord]) -> str:
    style = (
        "body{font:14px sans-serif;margin:2em}td,th{padding:2px 8px;text-align:left}tr:nth-child(even){background:#eee}"
    )
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{TITLE}</title><style>{style}</style><h1>{TITLE}</h1><p>{_escape(INTRO)}</p>"
    ]
    for section in sections(cells, records):
        parts.append(f"<h2>{_escape(section.title)}</h2>")
        parts += [f"<p>{_escape(text)}</p>" for text in section.text.split("\n\n") if text]
        if section.rows:
            head = "".join(f"<th>{_escape(word)}</th>" for word in section.header)
            body = "".join(
                "<tr>" + "".join(f"<td>{_escape(word)}</td>" for word in row) + "</tr>" for row in section.rows
            )
            parts.append(f"<table><tr>{head}</tr>{body}</table>")
    return "\n".join(parts) + "\n"


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def as_json(cells: Sequence[Cell], records: Sequence[MatrixRecord]) -> str:
    def row(cell: Cell) -> dict:
        verdicts = {kind: verdict(records, kind, cell.place) for kind in ("emulated", "measured")}
        return {**asdict(cell.place), **{k: v for k, v in asdict(cell).items() if k != "place"}, **verdicts}

    return json.dumps([row(cell) for cell in cells], indent=1) + "\n"
