"""Make `searches.jsonl`: searches for which both stores must give the same hits.

    python -m tests.data.make_searches

It holds all of questions.jsonl, then headings, first sentences and single words of the sample
documents, 500 in all. A rerun gives the same bytes for the same documents.
"""

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from ragctl.loaders import LoadOptions, load
from ragctl.records import Document
from ragctl.sources import LocalFile

COUNT = 500
FILE = Path(__file__).parent / "searches.jsonl"
QUESTIONS = Path(__file__).parents[2] / "benchmarks" / "questions.jsonl"
SAMPLES = Path(__file__).parents[2] / "sample_docs"

_SENTENCE = re.compile(r"[^.!?。！？\n]{12,120}[.!?。！？]")
_WORD = re.compile(r"\w{5,}|[\u4e00-\u9fff]{2,4}")


def search_texts() -> list[str]:
    """Return the texts of all searches, without duplicates."""
    rows = QUESTIONS.read_text(encoding="utf-8").splitlines()
    texts = dict.fromkeys(json.loads(row)["query"] for row in rows)
    further = sorted(set(_texts_of_documents()), key=lambda text: (zlib.crc32(text.encode()), text))
    for text in further:
        if len(texts) == COUNT:
            break
        texts.setdefault(text)
    return list(texts)


def _texts_of_documents() -> Iterator[str]:
    for path in sorted(SAMPLES.rglob("*")):
        source = path.relative_to(SAMPLES)
        if not path.is_file() or path.name[0] == "." or source.parts[0] == "drafts":
            continue
        for document in load(
            LocalFile(str(path.parent), path.name), source.as_posix(), LoadOptions()
        ):
            if isinstance(document, Document):
                yield from (heading.title for heading in document.headings)
                yield from (" ".join(found.split()) for found in _SENTENCE.findall(document.text))
                yield from _WORD.findall(document.text)[:40]


def main() -> None:
    lines = [json.dumps({"query": text}, ensure_ascii=False) for text in search_texts()]
    FILE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
