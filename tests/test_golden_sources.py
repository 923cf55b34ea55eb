"""The kernels of small graphs, to read and to compare: tests/data/sources. `python tests/golden_sources.py` writes them anew."""

from golden_sources import FOLDER, sources


def test_sources_are_what_they_were():
    found = dict(sources())
    assert found.keys() == {path.name for path in FOLDER.iterdir() if path.suffix != ".ir"}
    changed = [name for name, text in found.items() if (FOLDER / name).read_text() != text]
    assert not changed, f"{', '.join(changed)}: if that is meant, run python tests/golden_sources.py and say why"
