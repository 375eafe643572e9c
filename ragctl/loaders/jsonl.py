"""JSON Lines: one document per line, read line by line.

A record's source is `file#id`. Without an id it is a hash of the record, so that an inserted line
changes no other record's source; equal records get `-2`, `-3` … appended.
"""

import codecs
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import clean
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.metadata import json_object
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document, Json
from ragctl.text import collapse_whitespace

MAX_ID_CHARACTERS = 512
MAX_SHOWN_LINES = 3  # of one problem
MAX_SHOWN_FIELDS = 5
MAX_FIELD_CHARACTERS = 40


class _BadRecord(DocumentError):
    """A record that cannot be a document. `problem` is the same for all records that have it.

    `detail`: what is known of this record. `advice`: what to do about all of them.
    """

    def __init__(self, problem: str, detail: str = "", advice: str = "") -> None:
        super().__init__(problem)
        self.detail = detail
        self.advice = advice


class _BadRecords:
    """The bad records of a file, by problem."""

    def __init__(self) -> None:
        self._first: dict[str, _BadRecord] = {}
        self._lines: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, line: int, record: DocumentError) -> None:
        """Add the record that begins at `line`."""
        if not isinstance(record, _BadRecord):
            record = _BadRecord(str(record))
        problem = str(record)
        self._first.setdefault(problem, record)
        self._counts[problem] += 1
        lines = self._lines.setdefault(problem, [])
        if len(lines) < MAX_SHOWN_LINES:
            lines.append(line)

    def errors(self) -> Iterator[DocumentError]:
        """Yield one error for the whole file, if any record is bad."""
        if self._first:
            error = DocumentError("; ".join(map(self._described, self._first)))
            error.documents = self._counts.total()
            yield error

    def _described(self, problem: str) -> str:
        count, first = self._counts[problem], self._first[problem]
        lines = ", ".join(map(str, self._lines[problem]))
        more = " …" if count > MAX_SHOWN_LINES else ""
        where = f"line {lines}" if count == 1 else f"{count:,} records (lines {lines}{more})"
        detail = f" ({first.detail})" if first.detail else ""
        advice = f"; {first.advice}" if first.advice else ""
        return f"{where}: {problem}{detail}{advice}"


def load_jsonl(
    content: FileContent, source: str, options: LoadOptions
) -> Iterator[Document | DocumentError]:
    """Yield the documents of a file, and then one DocumentError for its bad records, if any."""
    seen: dict[str, int] = {}
    bad = _BadRecords()
    content.check_size(options.max_bytes)
    with content.open() as file:
        lines = _lines(file, options.encoding)
        while True:
            try:
                number, line = next(lines, (0, b""))
            except DocumentError:
                yield from bad.errors()
                raise
            if not number:
                break
            try:
                yield _document(line, source, options, seen)
            except DocumentError as error:
                bad.add(number, error)
    yield from bad.errors()


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


def _document(
    line: bytes | str, source: str, options: LoadOptions, seen: dict[str, int]
) -> Document:
    record = _parse(line)
    text = _field(record, options.jsonl_text)
    if not isinstance(text, str):
        raise _BadRecord(
            f'no {"field" if text is None else "text in the field"} "{options.jsonl_text}"',
            _fields_with_text(record),
            "name the field that has the text with --jsonl-text, in a pipeline file jsonl_text",
        )
    record_id = _record_id(record, options, seen)
    title = record.get("title")
    meta = json_object(_metadata(record, options))
    return Document(
        f"{source}#{record_id}",
        without_embedded(clean(text)),
        title=collapse_whitespace(clean(title)) or None if isinstance(title, str) else None,
        meta=meta,
    )


def _field(record: Mapping[str, Json], name: str) -> Json:
    """Return a field, or one within others by a dotted name: `doc.body`; None without it."""
    if name in record:
        return record[name]
    outer, dot, inner = name.partition(".")
    value = record.get(outer) if dot else None
    return _field(value, inner) if isinstance(value, dict) else None


def _fields_with_text(record: Mapping[str, Json]) -> str:
    """Return what fields of a record may be meant, for a message."""
    names = [
        name if len(name) <= MAX_FIELD_CHARACTERS else f"{name[:MAX_FIELD_CHARACTERS]}…"
        for name, value in _flat(record)
        if isinstance(value, str)
    ]
    more = " …" if len(names) > MAX_SHOWN_FIELDS else ""
    shown = ", ".join(names[:MAX_SHOWN_FIELDS])
    return f"fields with text: {shown}{more}" if names else "no field has text"


def _flat(record: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield the fields of a record, and those one level deeper by their dotted names."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def _parse(line: bytes | str) -> dict[str, Json]:
    try:
        text = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError as error:
        raise _BadRecord("not UTF-8", advice="give --encoding") from error
    try:
        # NaN and Infinity are not JSON, but some programs write them for missing values.
        record = json.loads(text, parse_constant=lambda _: None)
    except RecursionError as error:
        raise _BadRecord("nested too deep") from error
    except json.JSONDecodeError as error:
        detail = f"{error.msg} at character {error.pos + 1}"
        raise _BadRecord("not JSON", detail) from error
    except ValueError as error:
        raise _BadRecord("not JSON", str(error)) from error
    if not isinstance(record, dict):
        raise _BadRecord("not a JSON object")
    return record


def _record_id(record: Mapping[str, Json], options: LoadOptions, seen: dict[str, int]) -> str:
    """Return a record's id and count it in `seen`, the ids of the file so far."""
    given = _field(record, options.jsonl_id)
    if given is None:
        canonical = json.dumps(record, sort_keys=True).encode()
        record_id = base = hashlib.sha256(canonical).hexdigest()[:12]
        while record_id in seen:
            seen[base] += 1
            record_id = f"{base}-{seen[base]}"
    else:
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise _BadRecord(f'no string or number in the id field "{options.jsonl_id}"')
        record_id = collapse_whitespace(clean(str(given)))
        if not record_id or len(record_id) > MAX_ID_CHARACTERS:
            raise _BadRecord(f"empty id, or one of over {MAX_ID_CHARACTERS} characters")
        if record_id in seen:
            raise _BadRecord("repeated id", f'"{record_id}"')
    seen[record_id] = 1
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
