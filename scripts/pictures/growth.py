"""Pictures of what bench_growth.py measured: lines over the growing work, one SVG a part."""

from __future__ import annotations

from collections import defaultdict

from scripts.pictures.drawing import SERIES, line, svg, text

LEFT, TOP, WIDTH, HEIGHT, LEGEND = 60, 24, 460, 240, 200
Lines = dict[str, list[tuple[float, float]]]


def pictures(record: dict) -> dict[str, str]:
    """File name -> SVG, of those parts that were measured."""
    drawn = {}
    if rows := record.get("context"):
        lines = grouped(rows, lambda r: f"{r['engine']} {r['kv']}", "depth", "ms")
        drawn["growth-context.svg"] = chart("Decode: milliseconds a token by context", "tokens before it", lines)
    if rows := record.get("clients"):
        name = lambda r: f"{r['engine']}, {'one prompt' if r['shared'] else 'own prompts'}"  # noqa: E731
        drawn["growth-first-token.svg"] = chart(
            "Mean seconds to the first token by clients",
            "clients at once",
            grouped(rows, name, "clients", "first_token_s"),
        )
        drawn["growth-throughput.svg"] = chart(
            "Tokens a second of all clients", "clients at once", grouped(rows, name, "clients", "tokens_a_second")
        )
    if rows := record.get("conversations"):
        lines = {"hfc": [(r["conversations"], r["second_turn_s"]) for r in rows]}
        drawn["growth-conversations.svg"] = chart("Seconds of a second turn by conversations", "conversations", lines)
    if rows := record.get("files"):
        lines = {
            label: sorted((r["bytes"] / 1e9, r[key]) for r in rows)
            for label, key in (("first start", "first_s"), ("second start", "second_s"))
        }
        drawn["growth-files.svg"] = chart("Seconds from a file to the first token", "GB of the file", lines)
    return drawn


def grouped(rows: list[dict], name, x: str, y: str) -> Lines:
    lines: Lines = defaultdict(list)
    for row in rows:
        lines[name(row)].append((row[x], row[y]))
    return {key: sorted(points) for key, points in lines.items()}


def chart(title: str, below: str, lines: Lines) -> str:
    """Both axes begin at 0: a straight line is cost that grows as the work does."""
    most_x = max(x for points in lines.values() for x, _ in points) or 1
    most_y = max(y for points in lines.values() for _, y in points) or 1
    at = lambda x, y: (LEFT + WIDTH * x / most_x, TOP + HEIGHT * (1 - y / most_y))  # noqa: E731
    parts = [text(LEFT, TOP - 8, title), text(LEFT + WIDTH, TOP + HEIGHT + 38, below, anchor="end")]
    for i in range(5):
        left, y = at(0, most_y * i / 4)
        parts += [line(left, y, LEFT + WIDTH, y), text(left - 8, y + 4, tick(most_y * i / 4), anchor="end")]
        parts.append(text(at(most_x * i / 4, 0)[0], TOP + HEIGHT + 20, tick(most_x * i / 4), anchor="middle"))
    for i, (name, points) in enumerate(lines.items()):
        color = SERIES[i % len(SERIES)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in (at(*p) for p in points)]
        parts.append(text(LEFT + WIDTH + 16, TOP + 16 + 22 * i, name, color))
    return svg(LEFT + WIDTH + LEGEND, TOP + HEIGHT + 50, title, parts)


def tick(value: float) -> str:
    """Three digits, and numbers of four and more without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
