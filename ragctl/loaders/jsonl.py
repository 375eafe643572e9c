"""JSON Lines: one document per line, read line by line.

A record's source is `file#id`. Without an id it is a hash of the record, so that a line put in
above changes no other record's source; equal records are told apart by `-2`, `-3`, ….
"""

import codecs
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ragctl.errors import DocumentError
from ragctl.loaders.decode import clean
from ragctl.loaders.metadata import json_object
from ragctl.loaders.options import LoadOptions, check_size
from ragctl.records import Document, Json
from ragctl.text import collapse_whitespace

_LONGEST_ID = 512  # characters


def load_jsonl(path: Path, source: str, options: LoadOptions) -> Iterator[Document | DocumentError]:
    """Documents, and for each bad line a DocumentError that names it; the other lines go on."""
    seen: set[str] = set()
    with path.open("rb") as file:
        check_size(path.stat().st_size, options)
        for number, line in _lines(file, options.encoding):
            try:
                yield _document(line, source, options, seen)
            except DocumentError as error:
                yield DocumentError(f"line {number} {error}")


def _lines(file: BinaryIO, encoding: str | None) -> Iterator[tuple[int, bytes | str]]:
    """Lines that are not blank, numbered from 1."""
    head = file.read(4)
    file.seek(0)
    if encoding is None and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-32" if head.startswith(codecs.BOM_UTF32_LE) else "utf-16"
    if encoding is not None:
        try:
            with codecs.getreader(encoding)(file) as reader:
                for number, text in enumerate(reader, 1):
                    if text and not text.isspace():
                        yield number, text
        except (UnicodeError, LookupError) as error:
            raise DocumentError(f"is not in {encoding}: {error}") from error
        return
    if head.startswith(codecs.BOM_UTF8):
        file.seek(len(codecs.BOM_UTF8))
    for number, line in enumerate(file, 1):
        if line and not line.isspace():
            yield number, line


def _document(line: bytes | str, source: str, options: LoadOptions, seen: set[str]) -> Document:
    record = _parse(line)
    text = record.get(options.jsonl_text)
    if not isinstance(text, str):
        what = "has no field" if text is None else "has no text in its field"
        raise DocumentError(f'{what} "{options.jsonl_text}"; name the field with --jsonl-text')
    key = _key(record, options, seen)
    title = record.get("title")
    meta = json_object(_metadata(record, options))
    return Document(
        f"{source}#{key}",
        clean(text),
        title=collapse_whitespace(clean(title)) or None if isinstance(title, str) else None,
        meta=meta,
    )


def _parse(line: bytes | str) -> dict[str, Json]:
    try:
        text = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError as error:
        raise DocumentError("is not UTF-8; give --encoding") from error
    try:
        # NaN and Infinity are no JSON, but some writers' word for "none".
        record = json.loads(text, parse_constant=lambda _: None)
    except RecursionError as error:
        raise DocumentError("is nested too deep") from error
    except ValueError as error:
        raise DocumentError(f"is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise DocumentError("is not a JSON object")
    return record


def _key(record: Mapping[str, Json], options: LoadOptions, seen: set[str]) -> str:
    given = record.get(options.jsonl_id)
    if given is None:
        canonical = json.dumps(record, sort_keys=True).encode()
        key = base = hashlib.sha256(canonical).hexdigest()[:12]
        count = 1
        while key in seen:
            count += 1
            key = f"{base}-{count}"
    else:
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise DocumentError(f'has no string or number in its id field "{options.jsonl_id}"')
        key = collapse_whitespace(clean(str(given)))
        if not key or len(key) > _LONGEST_ID:
            raise DocumentError(f"has an empty or too long id (over {_LONGEST_ID} characters)")
        if key in seen:
            raise DocumentError(f'repeats the id "{key}"')
    seen.add(key)
    return key


def _metadata(record: Mapping[str, Json], options: LoadOptions) -> dict[str, Json]:
    if options.jsonl_metadata is not None:
        return {name: record[name] for name in options.jsonl_metadata if name in record}
    rest = record.keys() - {options.jsonl_text, options.jsonl_id, "title"}
    return {
        name: value
        for name, value in record.items()
        if name in rest and not isinstance(value, dict | list)
    }
