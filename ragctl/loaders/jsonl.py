"""JSON Lines: one document per line, read line by line.

A record's source is `file#id`. Without an id it is a hash of the record, so that an inserted line
changes no other record's source; equal records get `-2`, `-3` … appended.
"""

import codecs
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import clean
from ragctl.loaders.metadata import json_object
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document, Json
from ragctl.text import collapse_whitespace

MAX_ID_CHARACTERS = 512


def load_jsonl(
    content: FileContent, source: str, options: LoadOptions
) -> Iterator[Document | DocumentError]:
    """Yield the documents of a file, and a DocumentError with the line number for each bad line."""
    seen: set[str] = set()
    content.check_size(options.max_bytes)
    with content.open() as file:
        for number, line in _lines(file, options.encoding):
            try:
                yield _document(line, source, options, seen)
            except DocumentError as error:
                yield DocumentError(f"line {number} {error}")


def _lines(file: BinaryIO, encoding: str | None) -> Iterator[tuple[int, bytes | str]]:
    """Yield the lines that are not blank, numbered from 1."""
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
    record_id = _record_id(record, options, seen)
    title = record.get("title")
    meta = json_object(_metadata(record, options))
    return Document(
        f"{source}#{record_id}",
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
        # NaN and Infinity are not JSON, but some programs write them for missing values.
        record = json.loads(text, parse_constant=lambda _: None)
    except RecursionError as error:
        raise DocumentError("is nested too deep") from error
    except ValueError as error:
        raise DocumentError(f"is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise DocumentError("is not a JSON object")
    return record


def _record_id(record: Mapping[str, Json], options: LoadOptions, seen: set[str]) -> str:
    """Return a record's id and add it to `seen`, the ids of the file so far."""
    given = record.get(options.jsonl_id)
    if given is None:
        canonical = json.dumps(record, sort_keys=True).encode()
        record_id = base = hashlib.sha256(canonical).hexdigest()[:12]
        count = 1
        while record_id in seen:
            count += 1
            record_id = f"{base}-{count}"
    else:
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise DocumentError(f'has no string or number in its id field "{options.jsonl_id}"')
        record_id = collapse_whitespace(clean(str(given)))
        if not record_id or len(record_id) > MAX_ID_CHARACTERS:
            raise DocumentError(
                f"has an empty or too long id (over {MAX_ID_CHARACTERS} characters)"
            )
        if record_id in seen:
            raise DocumentError(f'repeats the id "{record_id}"')
    seen.add(record_id)
    return record_id


def _metadata(record: Mapping[str, Json], options: LoadOptions) -> dict[str, Json]:
    """Return the fields to keep: those that the user names, else all scalars not used above."""
    if options.jsonl_metadata is not None:
        return {name: record[name] for name in options.jsonl_metadata if name in record}
    others = record.keys() - {options.jsonl_text, options.jsonl_id, "title"}
    return {
        name: value
        for name, value in record.items()
        if name in others and not isinstance(value, dict | list)
    }
