"""Prompts of several kinds of text, to measure speculation on: how much it brings depends on the text."""

from __future__ import annotations

_CODE = '''def read_table(path, separator=","):
    """Read a table with a header from a text file."""
    rows = []
    with open(path) as file:
        header = file.readline().strip().split(separator)
        for line in file:
            values = line.strip().split(separator)
            if len(values) != len(header):
                raise ValueError(f"{path}: {len(values)} values, {len(header)} names")
            rows.append(dict(zip(header, values)))
    return rows
'''

# genre -> (what a chat model is asked, what a base model continues)
GENRES: dict[str, tuple[tuple[str, str], ...]] = {
    "edit": (
        (f"Rewrite this function so that it skips empty lines. Answer with the whole function.\n\n{_CODE}", f"{_CODE}\n\n# The same, but it skips empty lines.\ndef read_table_loosely(path, separator=\",\"):\n"),
        (f"Rename `rows` to `records` in this function. Answer with the whole function.\n\n{_CODE}", f"{_CODE}\n\n# The same with other names.\ndef read_records(path, separator=\",\"):\n"),
    ),
    "code": (
        ("Write a Python class for a stack with push, pop and peek.", "class Stack:\n    def __init__(self):\n"),
        ("Write a Python function that merges two sorted lists.", "def merge_sorted(a, b):\n"),
        ("Write a Python function that counts the words of a file.", "import collections\n\n\ndef count_words(path):\n"),
    ),
    "docstrings": (
        ("Write a docstring for a Python function moving_average(values, window).", 'def moving_average(values, window):\n    """'),
        ("Write the docstring of a Python class that caches the pages of a web site.", 'class PageCache:\n    """'),
    ),
    "prose": (
        ("Explain in two paragraphs why the sky is blue.", "The sky is blue because"),
        ("Write the beginning of a story about a lighthouse keeper.", "The lighthouse keeper had not seen a ship for"),
        ("What should one think about before buying a used car?", "Before you buy a used car, you should"),
    ),
}  # fmt: skip
