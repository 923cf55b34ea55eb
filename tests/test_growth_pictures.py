"""The pictures of scripts/bench_growth.py: every part that was measured has one, its lines where the numbers are."""

import xml.etree.ElementTree as xml

from scripts.pictures import growth


def test_lines_lie_where_the_numbers_are():
    depths = [
        {"engine": "hfc", "kv": kv, "depth": d, "ms": 2 + d / 1000} for kv in ("f16", "q8") for d in (0, 4000, 8000)
    ]
    client = {"engine": "hfc", "shared": True, "clients": 8, "first_token_s": 0.5, "tokens_a_second": 400}
    drawn = growth.pictures({"context": depths, "clients": [client], "slots": {"before_mb": 1}})
    assert set(drawn) == {"growth-context.svg", "growth-first-token.svg", "growth-throughput.svg"}
    root = xml.fromstring(drawn["growth-context.svg"])
    lines = [e.get("points").split() for e in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 2 and lines[0] == lines[1]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in lines[0])
    assert x1 - x0 == x2 - x1 > 0 and abs((y0 - y1) - (y1 - y2)) < 0.2 and y2 == growth.TOP, "the most is at the top"
    assert y0 == growth.TOP + growth.HEIGHT * 0.8, "and both axes begin at 0"
