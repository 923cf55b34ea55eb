"""What the pictures of docs/learn are drawn with: SVG text that reads on light and dark pages alike."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

INK, FAINT, SERIES = "#607d8b", "#90a4ae55", ("#1e88e5", "#e53935", "#43a047", "#fb8c00", "#8e24aa", "#6d4c41")


def svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    body = "\n".join(parts)
    return f'{head} font-family="sans-serif" font-size="13">\n<title>{escape(title)}</title>\n{body}\n</svg>\n'


def text(x: float, y: float, words: object, color: str = INK, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}">{escape(str(words))}</text>'


def line(x1: float, y1: float, x2: float, y2: float, color: str = FAINT) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}"/>'


def rect(x: float, y: float, width: float, height: float, color: str, opacity: float = 1) -> str:
    shade = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{color}"{shade}/>'


def curve(points: Iterable[tuple[float, float]], color: str) -> str:
    joined = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="2"/>'
