"""Jupyter notebooks."""

import json
from pathlib import Path

import pytest

from ragctl.records import Heading
from tests.loading import check, failure, load_one

CELLS = [
    {"cell_type": "markdown", "source": ["\n", "# Study\n", "\n", "Some *text*."]},
    {
        "cell_type": "code",
        "source": "print('```')\n",
        "outputs": [
            {"output_type": "stream", "text": ["one\n", "two\n"]},
            {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=" * 100}},
            {"output_type": "execute_result", "data": {"text/plain": "42", "text/html": "<b>"}},
            {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": ["t"]},
            {"output_type": "stream", "text": "y" * 5000},
        ],
    },
    {"cell_type": "markdown", "source": "```\n# no\n```\nPart\n----\n"},
    {"cell_type": "raw", "source": "raw words"},
    {"cell_type": "code", "source": "", "outputs": []},
]

TEXT = f"""# Study

Some *text*.

````r
print('```')
````

```
one
two
```

```
42
```

```
KeyError: 'x'
```

```
{"y" * 2000}…
```

```
# no
```
Part
----

raw words
"""


def write(path: Path, notebook: object) -> Path:
    path.write_text(json.dumps(notebook))
    return path


def test_a_notebook_is_read(tmp_path: Path) -> None:
    metadata = {"kernelspec": {"language": "r"}}
    path = write(tmp_path / "a.ipynb", {"cells": CELLS, "metadata": metadata, "nbformat": 4})
    document = load_one(path)
    check(document)
    assert document.text == TEXT
    assert document.kind == "markdown"
    assert document.title == "Study"
    assert document.headings == (
        Heading(0, 1, "Study"),
        Heading(TEXT.index("Part\n"), 2, "Part"),
    )


def test_notebook_format_3_is_read(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Old"},
        {"cell_type": "code", "input": "x = 1", "outputs": []},
    ]
    path = write(tmp_path / "a.ipynb", {"worksheets": [{"cells": cells}], "nbformat": 3})
    assert load_one(path).text == "## Old\n\n```python\nx = 1\n```\n"


@pytest.mark.parametrize(
    "notebook",
    [[], {}, 5, "text", None, {"cells": 7}, {"cells": {}}, {"worksheets": []}],
)
def test_other_json_is_a_failure(tmp_path: Path, notebook: object) -> None:
    path = write(tmp_path / "a.ipynb", notebook)
    assert failure(path) == "a.ipynb: is not a notebook: it has no list of cells"


@pytest.mark.parametrize(
    "cell",
    [
        *(None, 5, [], {}, {"cell_type": []}, {"cell_type": "markdown", "source": {"a": 1}}),
        {"cell_type": "code", "source": [1, None], "outputs": {"a": 1}},
        {"cell_type": "code", "source": 5, "outputs": [None, 7, {"data": []}, {"text": {}}]},
        {"cell_type": "heading", "level": "x", "source": None},
    ],
)
def test_cells_of_wrong_types_are_empty(tmp_path: Path, cell: object) -> None:
    good = {"cell_type": "markdown", "source": "kept"}
    path = write(tmp_path / "a.ipynb", {"cells": [cell, good], "metadata": 3})
    assert load_one(path).text == "kept\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not a notebook: "), ("[" * 100_000, "is nested too deep")],
)
def test_a_file_that_is_not_json_is_a_failure(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    assert failure(path).startswith(f"a.ipynb: {message}")


def test_results_of_format_3_and_html_only_results_are_kept(tmp_path: Path) -> None:
    def code(*outputs: object) -> dict[str, object]:
        return {"cell_type": "code", "input": "1", "outputs": list(outputs)}

    sheets = [
        {"cells": [code({"output_type": "pyout", "text": ["forty-two"]},
                        {"output_type": "pyerr", "ename": "ValueError", "evalue": "bad pump"})]},
        {"cells": [{"cell_type": "markdown", "source": ["second sheet"]}]},
    ]  # fmt: skip
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"nbformat": 3, "worksheets": sheets}))
    text = load_one(path).text
    assert "forty-two" in text
    assert "ValueError: bad pump" in text
    assert "second sheet" in text

    html = {"output_type": "execute_result", "data": {"text/html": ["<p>only <b>HTML</b></p>"]}}
    path.write_text(json.dumps({"nbformat": 4, "cells": [code(html)]}))
    assert "only HTML" in load_one(path).text
