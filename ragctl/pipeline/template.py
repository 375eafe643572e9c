"""The commented pipeline file that `ragctl init` writes."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragctl.catalog import Catalog
from ragctl.pipeline.globs import split_pattern
from ragctl.pipeline.pipeline import DEFAULT_PRUNE_LIMIT
from ragctl.pipeline.schema import FILE
from ragctl.stores import is_server


@dataclass(frozen=True, slots=True)
class Answers:
    """The content of a new pipeline file. Paths start from the working folder; None: left out."""

    sources: tuple[str, ...]
    collection: str
    model: str
    dim: int | None = None
    backend: str | None = None
    store: str | None = None


def render(file: Path, answers: Answers, catalog: Catalog) -> str:
    """Return the text of a new pipeline file at `file`; paths in it are relative to its folder."""
    return "\n".join(
        (
            *_head(file, answers),
            *(line for source in answers.sources for line in _source(file, source, answers.store)),
            *_embedding(answers, catalog),
            "# [prune]",
            f"# limit = {DEFAULT_PRUNE_LIMIT:g} "
            "# per cent of the documents that one run may remove",
            "",
            "# [budget]",
            "# max_tokens = 1_000_000 # stop before a run sends more",
            "",
        )
    )


def _head(file: Path, answers: Answers) -> Sequence[str]:
    store = answers.store
    if store is not None and not is_server(store):
        store = _relative(file, store)
    return (
        f"#:schema {FILE.as_uri()}",
        "# Settings of a run: sources, model, collection. Commands for this file:",
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
    root = Path(split_pattern(source)[0])
    excluded = [file] if store is None or is_server(store) else [file, Path(store)]
    # Do not index the pipeline file and the store themselves.
    inside = [
        re.sub(r"([\\*?\[\]!# ])", r"\\\1", f"/{path.absolute().relative_to(root.absolute())}")
        for path in excluded
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
        key = f" # its API key{optional} is read from {backend.keys[0]}" if backend.keys else ""
        lines.append(f"backend = {_quoted(backend.name)}{key}")
    return (*lines, "")


def _relative(file: Path, path: str) -> str:
    """Return a path of the working folder as seen from the folder of `file`."""
    if path.startswith("~"):
        return path
    return Path(os.path.relpath(path, file.absolute().parent)).as_posix()


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's, except that TOML also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
