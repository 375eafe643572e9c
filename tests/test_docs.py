"""The documentation: its commands parse, its examples are right, its links lead somewhere."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.core import TyperGroup

from ragctl import pipeline as pipelines
from ragctl.catalog import (
    BackendConfig,
    Catalog,
    backend_table,
    listing,
    model_table,
    reranker_table,
)
from ragctl.cli import commands as table
from ragctl.cli.main import app
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.embedding.wire_registry import WIRES
from ragctl.errors import UsageError
from ragctl.loaders.registry import FORMATS
from ragctl.pipeline import Pipeline, read_pipeline
from ragctl.pipeline.pipeline import by_path
from ragctl.rerank.wire_registry import RERANK_WIRES
from ragctl.search.option_spec import declared_options
from ragctl.search.options import SearchOptions

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
LINKING = [ROOT / "README.md", ROOT / "CHANGELOG.md", CONTRIBUTING, *PAGES]
SHELL = ("sh", "bash", "console")
OPERATORS = ("&&", "||", ";", "|", "&", ">", ">>")
SOURCES = "[[sources]]\npath = '.'\n"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """A page's tokens, those within its lines and cells too."""
    found = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return tuple(inner for token in found for inner in (token, *(token.children or ())))


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks in a language. One that names a file too (```toml NAME) is none."""
    return [t.content for t in tokens(page) if t.type == "fence" and t.info in languages]


@dataclass(frozen=True)
class Command:
    """The words after `ragctl`. `whole`: it is meant to be typed as it stands."""

    words: tuple[str, ...]
    whole: bool


def commands(page: Path) -> list[Command]:
    """Every `ragctl …` of a page, from its blocks and from its text."""
    listed = [*blocks(page, *SHELL), *(t.content for t in tokens(page) if t.type == "code_block")]
    whole = [line for block in listed for line in block.replace("\\\n", " ").splitlines()]
    named = [token.content for token in tokens(page) if token.type == "code_inline"]
    return [
        Command(words, whole=lines is whole)
        for lines in (whole, named)
        for line in lines
        if re.search(r"\bragctl ", line)
        for words in of_line(line)
    ]


def of_line(line: str) -> Iterator[tuple[str, ...]]:
    """The words after each `ragctl` that is a word by itself, up to the next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    while "ragctl" in words:
        words = words[words.index("ragctl") + 1 :]
        end = next((at for at, word in enumerate(words) if word in OPERATORS), len(words))
        yield tuple(words[:end])
        words = words[end:]


@cache
def group() -> TyperGroup:
    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)
    return found


def parsed(command: Command) -> dict[str, object]:
    """The options and arguments as typer takes them. Raises TyperException where it would."""
    words = [word for word in command.words if word != "--debug"]
    context = group().make_context("ragctl", words)
    name, found, rest = group().resolve_command(context, [*context._protected_args, *context.args])
    assert found is not None, name
    return dict(found.make_context(name, rest, parent=context).params)


def options(words: tuple[str, ...]) -> set[str]:
    """The options that a command has, its own and those of all."""
    own = [table.load_command(word) for word in words if word in table.COMMANDS][:1]
    params = [*group().params, *(param for found in own for param in found.params)]
    names = {name for param in params for name in (*param.opts, *param.secondary_opts)}
    return names | {"--help", "-h"}


PER_PAGE = pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name_of)


@PER_PAGE
def test_commands_parse(page: Path) -> None:
    for command in commands(page):
        line = shlex.join(("ragctl", *command.words))
        unknown = {w for w in command.words if re.match(r"--?[a-z]", w)} - options(command.words)
        assert not unknown, line
        if command.whole:
            try:
                parsed(command)
            except typer.TyperException as error:
                pytest.fail(f"{line}: {error.format_message()}")


def examples(page: Path, home: Path) -> list[Pipeline]:
    """A page's TOML, read as pipeline files; what has no sources is given some."""
    environ = {"RAGCTL_HOME": str(home), "RAGCTL_CONFIG": str(home / "none")}
    (home / ".env").touch()
    read = []
    for number, block in enumerate(blocks(page, "toml")):
        file = home / f"{number}.toml"
        whole = "sources" in tomllib.loads(block)
        file.write_text(block if whole else f"{block}\n{SOURCES}", encoding="utf-8")
        read.append(read_pipeline(file, environ))
    return read


@PER_PAGE
def test_examples_of_pipelines_are_right(page: Path, tmp_path: Path) -> None:
    for example in examples(page, tmp_path):
        told = example.embedding
        if told.model is None:
            continue
        model = example.catalog.model(told.model)
        model.size(told.dim)
        for config in told.backends or (BackendConfig(),):
            config.resolve(example.catalog, model.name, told.task)


@PER_PAGE
def test_commands_name_what_there_is(page: Path, tmp_path: Path) -> None:
    """Models and their sizes, backends that serve them, tasks, and pipeline files."""
    catalogs = [example.catalog for example in examples(page, tmp_path)]
    for command in (command for command in commands(page) if command.whole):
        told = parsed(command)
        if isinstance(model := told.get("model"), str):
            check_choice(told, model, [package_catalog(), *catalogs])
        if command.words[0] == "models" and isinstance(name := told["name"], str):
            package_catalog().model(name)
        for file in (told.get("file"), told.get("pipeline")):
            if isinstance(file, Path) and file.parts[0] == "pipelines":
                assert (ROOT / file).is_file(), command


def check_choice(told: dict[str, object], model: str, catalogs: list[Catalog]) -> None:
    """Raise UsageError unless the flags fit one catalogue: the own one, or that of an example."""
    dim, task, backends = told.get("dim"), told.get("task"), told.get("backend")
    for number, known in enumerate(reversed(catalogs), 1):
        try:
            known.model(model).size(dim if isinstance(dim, int) else None)
            for backend in backends if isinstance(backends, list) and backends else [None]:
                BackendConfig(backend).resolve(
                    known, model, task if isinstance(task, str) else None
                )
        except UsageError:
            if number == len(catalogs):
                raise
        else:
            return


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for token in tokens(page):
        link = token.attrs.get("href") if token.type == "link_open" else None
        if not isinstance(link, str) or re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    found = set()
    for before, token in pairwise(tokens(page)):
        if before.type == "heading_open":
            text = re.sub(r"[^\w\- ]", "", token.content.lower())
            found.add(text.replace(" ", "-"))
    return found


def test_the_files_that_contributing_names_exist() -> None:
    code = [token.content for token in tokens(CONTRIBUTING) if token.type == "code_inline"]
    words = {word for text in code for word in text.split()}
    files = {
        word
        for word in words
        if re.match(r"(ragctl|tests|docs|pipelines)/", word) and "*" not in word
    }
    assert len(files) > 30
    assert {file for file in files if not (ROOT / file).exists()} == set()


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    links = {str(t.attrs["href"]) for t in tokens(index) if t.type == "link_open"}
    linked = {(index.parent / link).resolve() for link in links}
    pages = set(PAGES) - {index}
    files = set((ROOT / "pipelines").glob("*.toml"))
    assert {name_of(page) for page in (pages | files) - linked} == set()


def test_every_backend_has_a_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`\n]+)`", index.split("## Ready")[0]))
    missing = package_catalog().backends.keys() - named
    assert missing == set(), "link their pages in docs/README.md"


def test_the_page_of_documents_lists_every_suffix() -> None:
    page = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")
    table = page.split("## Formats")[1].split("\n\n")[1]
    listed = re.findall(r"`(\.\w+)`", table)
    assert sorted(listed) == sorted(suffix for each in FORMATS for suffix in each.suffixes)


def test_the_page_of_searching_lists_every_option() -> None:
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"--(?:no-)?([a-z][a-z-]*)", page))
    names = {each.name.replace("_", "-") for each in declared_options(SearchOptions)}
    assert names - listed == set()


def test_every_key_of_a_pipeline_file_is_documented() -> None:
    said = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`([^`\n]+)`", said))))
    keys = {
        *(key.name for _, key in by_path().items()),
        *model_table.MODEL_KEYS,
        *backend_table.BACKEND_KEYS,
        *backend_table.SERVED_MODEL_KEYS,
        *WIRES.names,
        *reranker_table._KEYS,
        *RERANK_WIRES.names,
        *backend_table.RequestLimits.__dataclass_fields__,
        *backend_table.Rates.__dataclass_fields__,
        *backend_table.Runtime.__dataclass_fields__,
        *backend_table.Onnx.__dataclass_fields__,
    }
    assert {key for key in keys if key not in named and f'"{key}"' not in said} == set()


def test_figures_of_models_are_those_of_the_catalogue() -> None:
    """The tables of models.md, one for each family, have the cells of `ragctl models`."""
    said = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").split("<!-- models -->")[0]
    cells = [line.strip("|\n").split("|") for line in said.splitlines() if line.startswith("|")]
    table = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}
    known = package_catalog()
    for name, *figures, _ in listing.models(known, known.models).rows:
        assert table.get(name) == figures, f"{name} in the table of its family"


def test_the_page_of_pipelines_states_the_real_defaults(tmp_path: Path) -> None:
    said = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    file = tmp_path / "least.toml"
    file.write_text(SOURCES, encoding="utf-8")
    least = read_pipeline(file, {"RAGCTL_HOME": str(tmp_path)})
    assert least == Pipeline(sources=least.sources, store=str(tmp_path))
    stated = [
        (key.name, key.shown_default) for _, key in by_path().items() if key.default is not None
    ]
    assert len(stated) >= 11
    for key, value in (
        *((name, f'"?{shown}"?') for name, shown in stated),
        ("model", f'"{pipelines.DEFAULT_MODEL}"'),
        ("overlap", str(pipelines.DEFAULT_OVERLAP)),
        ("size", str(pipelines.DEFAULT_CHUNK_SIZE)),
    ):
        assert re.search(rf"^\| `{key}` \| [^|]+\| `?{value}`?[ ,]", said, re.MULTILINE), key


def test_the_models_and_tasks_that_pages_list_exist() -> None:
    known = user_catalog({"RAGCTL_CONFIG": "/nowhere"})
    said = (ROOT / "docs" / "backends" / "jina.md").read_text(encoding="utf-8")
    section = said.split("## Tasks")[1].split("```")[0]
    listed = re.findall(r"^\| `([\w.-]+)`[^|]*\|([^|]+)\|$", section, re.MULTILINE)
    assert len(listed) == 4
    for name, tasks in listed:
        assert set(re.findall(r"`([^`]+)`", tasks)) == known.model(name).tasks.keys()
