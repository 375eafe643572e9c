"""A first pipeline file, with comments: what `ragctl init` writes."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragctl.catalog import Catalog
from ragctl.pipeline.globs import split
from ragctl.pipeline.schema import FILE
from ragctl.stores import is_server


@dataclass(frozen=True, slots=True)
class Answers:
    """What a file is made from; paths as they are meant in the working folder. None: left out."""

    sources: tuple[str, ...]
    collection: str
    model: str
    dim: int | None = None
    backend: str | None = None
    store: str | None = None


def render(file: Path, answers: Answers, catalog: Catalog) -> str:
    """The text of a pipeline file that is to stand at `file`: its paths are relative to it."""
    return "\n".join(
        (
            *_head(file, answers),
            *(line for source in answers.sources for line in _source(file, source, answers.store)),
            *_embedding(answers, catalog),
            "# [prune]",
            "# limit = 30 # per cent of the documents that one run may remove",
            "",
            "# [budget]",
            "# max_tokens = 1_000_000 # a run stops before it sends more",
            "",
        )
    )


def _head(file: Path, answers: Answers) -> Sequence[str]:
    store = answers.store
    if store is not None and not is_server(store):
        store = _relative(file, store)
    return (
        f"#:schema {FILE.as_uri()}",
        "# Which documents go through which model into which collection:",
        f"#     ragctl validate {file.name}",
        f"#     ragctl run {file.name}",
        f'#     ragctl search -p {file.name} "a question"',
        "# Paths are relative to this file.",
        "",
        f"collection = {_quoted(answers.collection)}",
        '# store = "http://localhost:6333" # a Qdrant server, instead of this user\'s data folder'
        if store is None
        else f"store = {_quoted(store)}",
        "",
    )


def _source(file: Path, source: str, store: str | None) -> Sequence[str]:
    root = Path(split(source)[0])
    own = [file] if store is None or is_server(store) else [file, Path(store)]
    # The pipeline and the store are no documents of their own.
    inside = [
        re.sub(r"([\\*?\[\]!# ])", r"\\\1", f"/{path.absolute().relative_to(root.absolute())}")
        for path in own
        if path.absolute().is_relative_to(root.absolute())
    ]
    return (
        "[[sources]]",
        f"path = {_quoted(_relative(file, source))}",
        '# include = ["*.md", "*.pdf"] # only these, in gitignore syntax',
        f"exclude = [{', '.join(_quoted(path) for path in inside)}]"
        if inside
        else '# exclude = ["drafts/"]',
        "",
    )


def _embedding(answers: Answers, catalog: Catalog) -> Sequence[str]:
    model = catalog.model(answers.model)
    backend = catalog.backend(answers.backend or model.backend)
    lines = ["[embedding]", f"model = {_quoted(model.name)}"]
    if model.matryoshka:
        lines.append(f"dimension = {answers.dim or model.dim} # may be {model.sizes()}")
    if backend.name != "builtin":
        optional = "" if backend.key_required else ", if it needs one,"
        key = f" # its key{optional} is read from {backend.keys[0]}" if backend.keys else ""
        lines.append(f"backend = {_quoted(backend.name)}{key}")
    return (*lines, "")


def _relative(file: Path, path: str) -> str:
    """A path of the working folder as it is seen from the file's."""
    if path.startswith("~"):
        return path
    return Path(os.path.relpath(path, file.absolute().parent)).as_posix()


def _quoted(text: str) -> str:
    """A TOML string: JSON's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
