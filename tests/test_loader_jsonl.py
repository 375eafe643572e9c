"""JSON Lines: stable sources, and failures that name their line."""

import json
import time
from pathlib import Path

import pytest

from ragctl.errors import DocumentError
from ragctl.loaders import LoadOptions, load
from ragctl.records import Document
from tests.loading import check, load_all, local_file


def records(tmp_path: Path, *lines: object, **options: object) -> list[Document | Exception]:
    path = tmp_path / "a.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_bytes("\n".join(texts).encode())
    return load_all(path, LoadOptions(**options))  # type: ignore[arg-type]


def sources(items: list[Document | Exception]) -> list[str]:
    return [item.source for item in items if isinstance(item, Document)]


def errors(items: list[Document | Exception]) -> list[str]:
    return [str(item) for item in items if isinstance(item, Exception)]


def test_a_record_has_text_id_title_and_metadata(tmp_path: Path) -> None:
    line = {"id": 7, "text": "Hi\r\nthere", "title": "T", "lang": "en", "n": 1, "tags": ["a"]}
    [document] = records(tmp_path, line, "", "   ")
    assert isinstance(document, Document)
    check(document)
    assert (document.source, document.text, document.title) == ("a.jsonl#7", "Hi\nthere", "T")
    assert document.meta == {"lang": "en", "n": 1}


def test_options_select_the_fields(tmp_path: Path) -> None:
    line = {"key": "k", "body": "B", "a": {"x": [1]}, "b": 2}
    [document] = records(
        tmp_path, line, jsonl_text="body", jsonl_id="key", jsonl_metadata=("a", "none")
    )
    assert isinstance(document, Document)
    assert (document.source, document.text, document.meta) == ("a.jsonl#k", "B", {"a": {"x": [1]}})


def test_an_inserted_line_without_id_changes_no_other_source(tmp_path: Path) -> None:
    lines = [{"text": f"text {n}"} for n in range(20)]
    before = sources(records(tmp_path, *lines))
    lines.insert(3, {"text": "new"})
    after = sources(records(tmp_path, *lines))
    assert len(set(before)) == 20
    assert after[:3] + after[4:] == before
    assert len(before[0]) == len("a.jsonl#") + 12


def test_equal_records_without_ids_get_different_sources(tmp_path: Path) -> None:
    [first, *rest] = sources(records(tmp_path, *[{"text": "same"}] * 3))
    assert rest == [f"{first}-2", f"{first}-3"]


def test_a_repeated_id_is_a_failure(tmp_path: Path) -> None:
    items = records(tmp_path, {"id": "a", "text": "1"}, {"id": "a", "text": "2"})
    assert sources(items) == ["a.jsonl#a"]
    assert errors(items) == ['a.jsonl: line 2: repeated id ("a")']


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "not JSON (Expecting property name"),
        ("[1, 2]", "not a JSON object"),
        (
            '{"id": 1, "body": "b"}',
            'no field "text" (fields with text: body); name the field that has the text with '
            "--jsonl-text, in a pipeline file jsonl_text",
        ),
        ('{"text": 5}', 'no text in the field "text" (no field has text)'),
        ('{"text": "t", "id": {"a": 1}}', 'no string or number in the id field "id"'),
        ('{"text": "t", "id": " "}', "empty id, or one of over 512 characters"),
        ("[" * 100_000, "nested too deep"),
        ('{"text": "t", "n": ' + "9" * 5000 + "}", "not JSON (Exceeds the limit"),
    ],
)
def test_a_bad_line_is_a_failure_and_the_others_are_read(
    tmp_path: Path, line: str, message: str
) -> None:
    items = records(tmp_path, {"id": 1, "text": "a"}, "", line, {"id": 2, "text": "b"})
    assert sources(items) == ["a.jsonl#1", "a.jsonl#2"]
    [error] = errors(items)
    assert error.startswith(f"a.jsonl: line 3: {message}")


def test_bad_records_make_one_failure_with_a_count_and_the_first_lines(tmp_path: Path) -> None:
    bad = [{"id": n, "body": "b", "x": "y"} for n in range(1_200)]
    items = records(tmp_path, {"id": "a", "text": "1"}, *bad, "{", {"id": "b", "text": "2"}, "[]")
    assert sources(items) == ["a.jsonl#a", "a.jsonl#b"]
    assert isinstance(items[-1], DocumentError)
    assert items[-1].documents == 1_202
    assert errors(items) == [
        'a.jsonl: 1,200 records (lines 2, 3, 4 …): no field "text" (fields with text: body, x); '
        "name the field that has the text with --jsonl-text, in a pipeline file jsonl_text; "
        "line 1202: not JSON (Expecting property name enclosed in double quotes at character 3); "
        "line 1204: not a JSON object"
    ]


def test_long_and_many_field_names_are_cut(tmp_path: Path) -> None:
    [error] = errors(records(tmp_path, {f"{n}{'x' * 500}": "t" for n in range(50)}))
    assert error.count("x…") == 5
    assert len(error) < 500


def test_values_that_no_store_accepts_are_replaced(tmp_path: Path) -> None:
    line = (
        '{"id": 1, "text": "a\\ud800\\u0000", "n": NaN, "i": 1e999, '
        '"big": 99999999999999999999, "s": "x\\u0007"}'
    )
    [document] = records(tmp_path, line)
    assert isinstance(document, Document)
    check(document)
    assert document.text == "a\ufffd"
    assert document.meta == {"n": None, "i": None, "big": "99999999999999999999", "s": "x"}


def test_a_line_in_another_encoding_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    good, bad = '{"id": 1, "text": "a"}\n', '{"id": 2, "text": "Привет"}\n'
    path.write_bytes(good.encode() + bad.encode("cp1251") + b'{"id": 3, "text": "c"}')
    assert errors(load_all(path)) == ["a.ndjson: line 2: not UTF-8; give --encoding"]
    assert sources(load_all(path)) == ["a.ndjson#1", "a.ndjson#3"]
    documents = load_all(path, LoadOptions(encoding="cp1251"))
    assert [d.text for d in documents if isinstance(d, Document)] == ["a", "Привет", "c"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_respected(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "年假"}\n{"text": "b"}\n'.encode(encoding))
    assert [d.text for d in load_all(path) if isinstance(d, Document)] == ["年假", "b"]


def test_lines_are_read_lazily(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "a"}\n' + "x" * 20_000_000)
    items = load(local_file(path), "a.jsonl")
    first = next(items)
    assert isinstance(first, Document)
    path.write_text("")  # the rest of the file is gone
    assert all(isinstance(item, Exception) for item in items)


def test_a_line_of_fifty_megabytes_is_read(tmp_path: Path) -> None:
    text = "слово " * 4_600_000
    [first, second] = records(
        tmp_path, json.dumps({"id": 1, "text": text}, ensure_ascii=False), {"text": "b"}
    )
    assert isinstance(first, Document)
    assert first.text == text
    assert isinstance(second, Document)


def test_a_dotted_name_is_a_nested_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"doc": {"body": "nested", "no": 3}}\n{"doc.body": "flat", "doc": {"no": 4}}\n'
    )
    options = LoadOptions(jsonl_text="doc.body", jsonl_id="doc.no")
    documents = list(load(local_file(path), path.name, options))
    assert [(item.source, item.text) for item in documents if isinstance(item, Document)] == [
        ("a.jsonl#3", "nested"), ("a.jsonl#4", "flat")
    ]  # fmt: skip


def test_equal_records_without_ids_take_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' * 20_000)
    started = time.process_time()
    sources = {
        item.source for item in load(local_file(path), path.name) if isinstance(item, Document)
    }
    assert len(sources) == 20_000
    assert time.process_time() - started < 4
