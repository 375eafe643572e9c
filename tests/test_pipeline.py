"""Pipeline files: strict checks, relative paths, and the same result as flags."""

from pathlib import Path

import pytest

from ragctl.catalog import BackendConfig
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import UsageError
from ragctl.pipeline import (
    Budget,
    Embedding,
    Parsing,
    Pipeline,
    Reporting,
    Source,
    default_store,
    from_flags,
    read_pipeline,
)
from ragctl.pipeline.pipeline import by_path, key_at

ROOT = Path(__file__).parents[1]
HOME = {"RAGCTL_HOME": "/somewhere"}


def read(tmp_path: Path, text: str) -> Pipeline:
    path = tmp_path / "p.toml"
    path.write_text(text, encoding="utf-8")
    return read_pipeline(path, HOME)


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_pipeline_is_valid(path: Path) -> None:
    pipeline = read_pipeline(path, HOME)
    assert all(source.folder.is_dir() for source in pipeline.sources)
    model = package_catalog().model(pipeline.embedding.model or "builtin")
    assert model.size(pipeline.embedding.dim) == (pipeline.embedding.dim or model.dim)
    for config in pipeline.embedding.backends:
        config.resolve(pipeline.catalog, model.name)


def test_all_keys_are_read(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        collection = "kb"
        store = "data"
        [[sources]]
        path = "docs"
        include = ["*.md"]
        exclude = ["old/"]
        meta = { team = "docs" }
        encoding = "utf-8"
        jsonl_text = "t"
        jsonl_id = "i"
        jsonl_metadata = []
        [[sources]]
        path = "/abs"
        [embedding]
        model = "jina-embeddings-v3"
        dimension = 256
        backend = "jina"
        base_url = "http://127.0.0.1:1"
        [chunking]
        size = 300
        overlap = 30
        [bm25]
        languages = ["ru", "de"]
        [meta]
        team = "ops"
        level = 3
        draft = false
        [prune]
        enabled = false
        limit = 50
        [parsing]
        workers = 3
        timeout = 5
        memory_mb = 512
        max_file_mb = 9
        encoding = "cp1251"
        jsonl_text = "body"
        jsonl_id = "key"
        jsonl_metadata = ["a"]
        [budget]
        max_tokens = 1_000
        max_cost = 2.5
        max_tokens_per_day = 3_000
        max_cost_per_day = 4
        max_tokens_per_month = 5_000
        max_cost_per_month = 6
        [policy]
        fail_on = 7
        wait = true
        [report]
        report_file = "out/report.json"
        metrics_file = "/metrics/ragctl.prom"
        on_success = "https://ping.test/1"
        on_failure = "https://ping.test/2"
        """,
    )
    assert pipeline == Pipeline(
        sources=(
            Source(
                tmp_path / "docs",
                ("*.md",),
                ("old/",),
                meta={"team": "docs"},
                encoding="utf-8",
                jsonl_text="t",
                jsonl_id="i",
                jsonl_metadata=(),
            ),
            Source(Path("/abs")),
        ),
        store=str(tmp_path / "data"),
        collection="kb",
        embedding=Embedding(
            "jina-embeddings-v3", 256, (BackendConfig("jina", "http://127.0.0.1:1"),)
        ),
        chunk_size=300,
        overlap=30,
        languages=("ru", "de"),
        meta={"team": "ops", "level": 3, "draft": False},
        prune=False,
        prune_limit=50.0,
        parsing=Parsing(3, 5.0, 512, 9, "cp1251", "body", "key", ("a",)),
        budget=Budget(1_000, 2.5, 3_000, 4.0, 5_000, 6.0),
        fail_on=7.0,
        wait=True,
        reporting=Reporting(
            tmp_path / "out" / "report.json",
            Path("/metrics/ragctl.prom"),
            "https://ping.test/1",
            "https://ping.test/2",
        ),
    )


def test_fields_and_quantization_are_read(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        quantization = "turbo4"
        sources = [{path = "docs"}]
        [fields]
        year = "integer"
        "author.name" = "keyword"
        """,
    )
    assert pipeline.fields == {"year": "integer", "author.name": "keyword"}
    assert pipeline.quantization == "turbo4"
    bare = read(tmp_path, 'sources = [{path = "docs"}]')
    assert (bare.fields, bare.quantization) == ({}, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('quantization = "turbo3"', r"p\.toml, line 1: quantization cannot be 'turbo3'.*turbo"),
        ("quantization = 8", "quantization must be"),
        ('fields = {year = "int"}', r"\[fields\]: year cannot be 'int'.*"),
        ("fields = {year = 3}", r"\[fields\]: year must be a string"),
        ('fields = {"a..b" = "bool"}', "must have letters, digits"),
        ('fields = {"a[]" = "bool"}', "must have letters, digits"),
        ("fields = 3", "fields must be"),
    ],
)
def test_invalid_fields_are_reported(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, f'{line}\nsources = [{{path = "docs"}}]')


def test_files_and_flags_have_the_same_defaults(tmp_path: Path) -> None:
    pipeline = read(tmp_path, '[[sources]]\npath = "."\n')
    assert pipeline == Pipeline(sources=(Source(tmp_path),), store="/somewhere")
    flags = from_flags({"sources": [{"path": str(tmp_path)}]}, HOME)
    assert flags == pipeline


@pytest.mark.parametrize(
    ("path", "root", "within"),
    [
        ("docs", "docs", None),
        ("docs/*", "docs", "/*"),
        ("docs/*/handbook", "docs", "/*/handbook"),
        ("docs/**/*.md", "docs", "/**/*.md"),
        ("docs/**", "docs", "/**"),
        ("*.md", "", "/*.md"),
        ("/abs/v?/x", "/abs", "/v?/x"),
        ("/*/x", "/", "/*/x"),
        ("docs/[ab]/", "docs", "/[ab]"),
        ("docs [2024]", "docs [2024]", None),
        ("docs [2024]/*.md", "docs [2024]", "/*.md"),
    ],
)
def test_a_source_path_can_be_a_pattern(
    tmp_path: Path, path: str, root: str, within: str | None
) -> None:
    (tmp_path / "docs [2024]").mkdir()  # the folder exists, so this is a name, not a pattern
    (source,) = read(tmp_path, f"[[sources]]\npath = {path!r}").sources
    assert (source.path, source.within) == (tmp_path / root, within)


def test_a_file_from_windows_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xef\xbb\xbfcollection = 'x'\r\n[[sources]]\r\npath = '.'\r\n")
    assert read_pipeline(path, HOME).collection == "x"


def test_flags_override_a_file_and_are_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("[budget]\nmax_tokens = 5\nmax_cost = 2\n[[sources]]\npath = '.'\n")
    overrides = {"budget": {"max_tokens": 9}, "policy": {"wait": True}}
    pipeline = read_pipeline(path, HOME, overrides)
    assert (pipeline.budget, pipeline.wait) == (Budget(9, 2.0), True)
    with pytest.raises(UsageError, match=r"^--max-tokens must be 1 or more, not 0$"):
        read_pipeline(path, HOME, {"budget": {"max_tokens": 0}})
    path.write_text("[budget]\nmax_tokens = 0\n[[sources]]\npath = '.'\n")
    with pytest.raises(UsageError, match=r"line 2, table \[budget\]: max_tokens must be"):
        read_pipeline(path, HOME, {"budget": {"max_cost": 1.0}})


def test_each_flag_sets_one_key() -> None:
    flags = [key.flag for path, key in by_path().items() if key.flag and "backends" not in path]
    assert len(set(flags)) == len(flags)
    assert key_at("chunking.size").flag == "--chunk-size"


def test_later_errors_name_the_line_or_flag(tmp_path: Path) -> None:
    pipeline = read(tmp_path, "\n[chunking]\nsize = 99\n[[sources]]\npath = '.'\n")
    assert str(pipeline.error("chunking.size", "too many")).endswith("p.toml, line 3: too many")
    flags = from_flags({"sources": [{"path": "."}]}, HOME)
    assert str(flags.error("chunking.size", "too many")) == "--chunk-size: too many"


SOURCES = "[[sources]]\npath = '.'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"p\.toml: sources is missing"),
        ("sources = []", "line 1: no documents given"),
        ("sources = [5]", "line 1: sources 1 must be a table, not a whole number"),
        ("[embeding]\n" + SOURCES, "line 1: unknown key 'embeding'; did you mean embedding"),
        (
            SOURCES + "[[sources]]\npaht = '.'",
            r"line 4, table \[sources 2\]: .*'paht'; did you mean path",
        ),
        (SOURCES + "[[sources]]", r"line 3, table \[sources 2\]: path is missing"),
        ("[[sources]]\npath = ''", "line 2.*path must not be empty"),
        ('[[sources]]\npath = "a\\u0000b"', "line 2.*path contains a NUL"),
        ("[[sources]]\npath = '~nobody-here/x'", "line 2.*names a user"),
        ("[[sources]]\npath = 'a/*/../b'", r"line 2.*has a \.\. after a wildcard"),
        (SOURCES + "include = ['!']", r"line 3, table \[sources 1\]: Invalid git pattern"),
        (SOURCES + "encoding = 'latin-99'", "line 3.*encoding cannot be 'latin-99'"),
        (SOURCES + "meta = { a = [1] }", r"line 3, table \[sources 1.meta\]: a must be a string"),
        (SOURCES + "[embedding]\ndimension = 'many'\n", "line 4.*dimension must be a whole"),
        (
            SOURCES + "[embedding]\nmodel = 'jina-v3'\n",
            r"line 4, table \[embedding\]: no model .*did you",
        ),
        (SOURCES + "[embedding]\nmodel = 'bge-m3'\ndimension = 7\n", "line 5.*allowed: 1024"),
        (SOURCES + "[embedding]\nmodel = 'bge-m3'\ntask = 'x'\n", "line 5.*no task 'x'"),
        (
            SOURCES + "[embedding]\nmodel = 'bge-m3'\nbackend = 'jina'\n",
            "line 5.*does not serve bge-m3",
        ),
        (
            SOURCES + "[embedding]\nbackend = 'jinna'\n",
            "line 4.*no backend is called 'jinna'; did you",
        ),
        (SOURCES + "[embedding]\nbase_url = 'host'\n", "line 4.*'host' is not an http"),
        (SOURCES + "[embedding]\ncanary = 0\n", "line 4.*canary must be above 0, at most 1, not 0"),
        (SOURCES + "[embedding]\npatience = -1\n", "line 4.*patience must be 0 or more, not -1"),
        (SOURCES + "[embedding]\nprice = nan\n", "line 4.*price must be a number, not nan"),
        (SOURCES + "[embedding]\nconcurrency = 0\n", "line 4.*concurrency must be 1 or more"),
        (
            SOURCES + "[embedding]\nruntime = {dtype = 'int'}",
            r"line 4, table \[embedding.runtime\]: dtype",
        ),
        (
            SOURCES + "[embedding]\nbackend = 'jina'\n[[embedding.backends]]\nbackend = 'jina'",
            r"line 4.*backend cannot be combined with \[\[embedding.backends\]\]",
        ),
        (
            SOURCES + "[[embedding.backends]]\nbackend = 'jina'\n[[embedding.backends]]\nprice = 1",
            r"line 5, table \[embedding.backends 2\]: backend is missing",
        ),
        (SOURCES + "[chunking]\nsize = 0\n", "line 4.*size must be 16 or more"),
        (SOURCES + "[chunking]\nsize = 64\noverlap = 32\n", "line 5.*overlap 32 is too large"),
        (SOURCES + "[bm25]\nlanguages = ['de', 'xx']\n", "line 4.*language 'xx'"),
        (SOURCES + "[prune]\nlimit = 120\n", "line 4.*limit must be from 0 to 100, not 120"),
        (SOURCES + "[policy]\nfail_on = 101\n", "line 4.*fail_on must be from 0 to 100"),
        (SOURCES + "[budget]\nmax_cost = 0\n", "line 4.*max_cost must be above 0, not 0"),
        (SOURCES + "[budget]\nmax_cost = inf\n", "line 4.*max_cost must be a number, not inf"),
        (SOURCES + "[report]\non_failure = 'ping.test'\n", "line 4.*on_failure must be an http"),
        (SOURCES + "[meta]\nx = [1]\n", "line 4.*x must be a string, a number"),
        (SOURCES + "[meta]\nx = 2020-01-01\n", "line 4.*x must be a string, a number"),
        (SOURCES + "[meta]\nx = 99999999999999999999\n", "line 4.*x is too large"),
        (SOURCES + f"[budget]\nmax_cost = {10**400}\n", "line 4.*max_cost is too large"),
        (SOURCES + f"[budget]\nmax_tokens = {10**400}\n", "line 4.*max_tokens is too large"),
        (SOURCES + "[parsing]\ntimeout = -1\n", "line 4.*timeout must be above 0"),
        (
            SOURCES + "[parsing]\nworkers = true\n",
            "line 4.*workers must be a whole number, not true",
        ),
        (
            SOURCES + "[models.bge-m3]\ndimm = 5\n",
            r"line 4, table \[models.bge-m3\]: .*'dimm'; did you mean",
        ),
        (
            SOURCES + "[rerankers.jina]\ndocuments = 'many'",
            r"line 4, table \[rerankers.jina\]: documents must be a whole number",
        ),
        (SOURCES + "[rerankers.x]\ndocuments = 1", r"table \[rerankers.x\]: wire is missing"),
        (
            SOURCES + "[rerankers.x]\nwire = 'tei'",
            r"line 3, table \[rerankers.x\]: base_url is missing",
        ),
        (SOURCES + "[rerankers.x]\napi_key = 's3cret'", r"line 4.*a key does not belong in a file"),
        (SOURCES + "[backends.jina]\nlimits = 5", r"line 4, table \[backends.jina\]: limits must"),
        (
            SOURCES + "[backends.jina.models]\nbge = 'x'",
            "line 4: backend jina, model 'bge': no such",
        ),
        ("collection = 'a/b'\n" + SOURCES, "line 1: collection name 'a/b'"),
        ("store = 'localhost:6333'\n" + SOURCES, "line 1: store must begin with http://"),
        (
            "env_file = 'none.env'\n" + SOURCES,
            "line 1: .*none.env: cannot read the environment file",
        ),
        ("[[sources]\n", r"p\.toml, line 1: is not valid TOML"),
        ("[[sources]]\npath = docs # x\n", r"line 2: .*; text needs quotes: path = 'docs'$"),
        ("a = 1\nstore = 3d/x y\n", r"line 2: .*; text needs quotes: store = '3d/x y'$"),
        ("a = 1\nb =\n", r"line 2: is not valid TOML: Invalid value \(column \d\)$"),
        ("a = 1\na = 2\n", r"line 2: is not valid TOML: Cannot overwrite"),
        ("a = " + "[" * 5000, "is not valid TOML"),
    ],
)
def test_mistakes_are_reported_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml: cannot read"):
        read_pipeline(tmp_path / "nothing.toml", HOME)


def test_the_default_store_is_in_the_data_folder_of_the_platform() -> None:
    assert default_store(HOME) == "/somewhere"
    assert default_store({}).endswith("ragctl")
