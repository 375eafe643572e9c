"""Embedded data: what is removed from a text, in which formats, and what stays."""

import base64
import json
import random
import time
from pathlib import Path

import pytest

from ragctl.loaders.embedded import without_embedded
from tests.loading import check, load_one

DATA = base64.b64encode(random.Random(1).randbytes(6_000)).decode()
URI = f"data:image/png;base64,{DATA}"
LINES = "\n".join(DATA[at : at + 76] for at in range(0, len(DATA), 76))
SVG = "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0h9'/></svg>"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"See ![the pump]({URI}) here.", "See ![the pump]() here."),
        (f'<img alt="the pump" src="{URI}">', '<img alt="the pump" src="">'),
        (f"[image1]: <{URI}>", "[image1]: <>"),
        (f"@font-face {{ src: url(data:font/woff2;charset=utf-8;base64,{DATA}) }}",
         "@font-face { src: url() }"),
        (f"a url('{SVG.replace('xmlns', 'x').replace(chr(39), '%27')}') b", "a url('') b"),
        (f'<img src="{SVG}" alt="x">', '<img src="" alt="x">'),
        ("![a](data:image/svg+xml,%3Csvg%20x%3D%221%22/%3E) b", "![a]() b"),
        (f"DATA:IMAGE/PNG;BASE64,{DATA}", ""),
        (f"before\ndata:image/png;base64,\n{LINES}\nafter", "before\n" + "\n" * 107 + "after"),
        (f"key: {DATA} end", "key:  end"),
        (f"-----BEGIN-----\n{LINES}\n-----END-----",
         "-----BEGIN-----\n" + "\n" * 106 + "-----END-----"),
    ],
)  # fmt: skip
def test_embedded_data_is_removed_and_line_ends_are_kept(text: str, left: str) -> None:
    assert without_embedded(text) == left
    assert without_embedded(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "A data URI begins with data:text/plain,hello and has no host.",
        "data: the numbers, image/png;base64, and so on",
        "The metadata:image/png key",
        "a" * 1000,
        "ACGT" * 200,
        "0123456789abcdef" * 50,
        "/usr/local/lib/python3/site-packages" * 20,
        "Donaudampfschifffahrtsgesellschaft" * 20,
        "-" * 500,
        "\n".join(["0123456789abcdef0123456789abcdef01234567"] * 10),
        "\n".join(["SELECT_ALL_COLUMNS_FROM_THE_TABLE_OF_PUMPS"] * 10),
    ],
)
def test_other_text_stays(text: str) -> None:
    assert without_embedded(text) == text


def _notebook() -> str:
    cells = [
        {"cell_type": "markdown", "source": f"# Pump\n\n![alt words]({URI})\n\nIt runs."},
        {"cell_type": "code", "source": f"x = '{URI}'", "outputs": [
            {"output_type": "stream", "text": [f"printed {URI}\n"]}]},
    ]  # fmt: skip
    return json.dumps({"nbformat": 4, "cells": cells, "metadata": {}})


FILES = {
    "a.md": f"# Pump\n\n![alt words]({URI})\n\nIt runs.\n\n# Next\n",
    "b.md": f"---\nlogo: {URI}\n---\n# Pump\n\n![alt words][i]\n\nIt runs.\n\n[i]: {URI}\n",
    "a.txt": f"alt words {URI}\n{LINES}\nIt runs.\n",
    "a.rst": f"Pump\n====\n\n.. image:: {URI}\n   :alt: alt words\n\nIt runs.\n",
    "a.csv": f'name,picture,text\nalt words,"{URI}",It runs.\nsecond,"{URI}",It stops.\n',
    "a.jsonl": json.dumps({"id": 1, "text": f"alt words {URI} It runs.", "icon": URI}) + "\n",
    "a.ipynb": _notebook(),
    "a.css": f"/* alt words */\n.a {{ background: url({URI}) }}\n/* It runs. */\n",
}


@pytest.mark.parametrize("name", FILES)
def test_no_format_keeps_embedded_data(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    document = load_one(path)
    check(document)
    assert len(document.text) < 300
    assert "alt words" in document.text
    assert "It runs." in document.text
    assert DATA[:50] not in json.dumps(dict(document.meta))
    for heading in document.headings:
        assert heading.title in document.text[heading.start : heading.start + 20]


@pytest.mark.parametrize("unit", ["data:", "data:a/b;", "A1b/" * 63 + "\n", "A1b/" * 63 + " "])
def test_the_time_is_linear_in_the_text(unit: str) -> None:
    started = time.process_time()
    without_embedded(unit * (2_000_000 // len(unit)))
    assert time.process_time() - started < 2
