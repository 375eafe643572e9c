"""The catalogue: its own tables are complete, and wrong rows are refused with their name."""

import pytest

from ragctl import catalog as catalogs
from ragctl.catalog import (
    Backend,
    BackendConfig,
    Catalog,
    RequestLimits,
    check_rows,
    load_models,
)
from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.wire_registry import WIRES
from ragctl.errors import UsageError
from tests.facts import FACTS, LAYER_NORM, OTHER_TASKS

MODEL = """
[m]
dim = 8
normalized = true
distance = "cosine"
licence = "MIT"
languages = "en"
backend = "p"
document = { prompt = "" }
query = { prompt = "q: " }
"""

BACKEND = """
[p]
wire = "openai"
base_url = "https://host.test/v1/"
keys = ["P_KEY"]
dimensions = true
limits = { texts = 4 }
models = { m = "M" }
"""


def load_backends(text: str, source: str) -> dict[str, Backend]:
    return catalogs.load_backends(text, source, WIRES)


def check_every_row(catalog: Catalog) -> None:
    check_rows(
        catalog,
        dict.fromkeys(catalog.models, "m.toml"),
        dict.fromkeys(catalog.backends, "p.toml"),
    )


def test_shipped_rows_are_consistent() -> None:
    """At run time only a user's rows are checked against each other."""
    check_every_row(package_catalog())


def test_every_model_is_served_by_its_default_backend() -> None:
    for model in package_catalog().models.values():
        assert model.name in package_catalog().backend(model.backend).models
        assert model.dim in model.dims
        assert model.normalized


@pytest.mark.parametrize("name", FACTS)
def test_sides_and_dimensions(name: str) -> None:
    """Compare with facts written independently of the catalogue."""
    model, facts = package_catalog().model(name), FACTS[name]
    assert (model.dim, model.context) == (facts.native, facts.context)
    assert (model.document.prompt, model.query.prompt) == facts.prompts
    assert (model.document.task, model.query.task) == facts.tasks
    assert model.matryoshka == (facts.smaller is not None)
    assert {facts.native, facts.smaller, facts.largest} - {None} <= set(model.dims)
    assert model.layer_norm == (name == LAYER_NORM)
    assert set(model.trained) <= set(model.dims)


def test_library_arguments_of_each_side() -> None:
    def library_arguments(
        name: str, task: str | None = None
    ) -> list[tuple[str | None, str | None]]:
        model = package_catalog().model(name).for_task(task)
        sides = (model.document.library, model.query.library)
        return [(library.task, library.prompt_name) for library in sides]

    v3 = ["retrieval.passage", "retrieval.query"]
    assert library_arguments("jina-embeddings-v3") == [(name, name) for name in v3]
    assert (
        library_arguments("jina-embeddings-v3", "clustering") == [("separation", "separation")] * 2
    )
    assert library_arguments("jina-embeddings-v4") == [
        ("retrieval", "passage"),
        ("retrieval", "query"),
    ]
    assert library_arguments("jina-embeddings-v4", "code") == [
        ("code", "passage"),
        ("code", "query"),
    ]
    assert (
        library_arguments("jina-embeddings-v4", "text-matching") == [("text-matching", "query")] * 2
    )
    for name in ("jina-embeddings-v5-text-small", "jina-embeddings-v5-text-nano"):
        assert library_arguments(name) == [("retrieval", None)] * 2
        assert library_arguments(name, "clustering") == [("clustering", None)] * 2
    for name in ("jina-code-embeddings-0.5b", "jina-code-embeddings-1.5b"):
        assert library_arguments(name) == [(None, "nl2code_document"), (None, "nl2code_query")]
        assert library_arguments(name, "qa") == [(None, "qa_document"), (None, "qa_query")]
    assert library_arguments("qwen3-embedding-8b") == [(None, None)] * 2


@pytest.mark.parametrize("name", FACTS)
def test_other_tasks(name: str) -> None:
    model, facts = package_catalog().model(name), OTHER_TASKS.get(name, {})
    found = {
        task: tuple((side.task, side.prompt) for side in (sides.document, sides.query))
        for task, sides in model.tasks.items()
    }
    assert found == facts
    for task, sides in model.tasks.items():
        other = model.for_task(task)
        assert (other.document, other.query) == (sides.document, sides.query)
        assert other.query != model.query
    assert model.for_task("retrieval") is model
    with pytest.raises(UsageError, match=rf"{name} has no task 'x'; it has: retrieval"):
        model.for_task("x")


def test_non_commercial_models_and_licensed_backends() -> None:
    shipped = package_catalog()
    forbidden = {name for name, model in shipped.models.items() if model.non_commercial}
    assert forbidden == {name for name, model in shipped.models.items() if "-NC-" in model.licence}
    assert {name for name, host in shipped.backends.items() if host.licensed} == {"jina", "elastic"}


def test_backends_with_late_chunking() -> None:
    offered = {
        (host.name, name)
        for host in package_catalog().backends.values()
        for name, served in host.models.items()
        if "late_chunking" in served.fields
    }
    models = ("jina-embeddings-v3", "jina-embeddings-v4")
    assert offered == {(host, name) for host in ("jina", "jina-on-prem") for name in models}
    assert all(package_catalog().model(name).late_chunking for name in models)


@pytest.mark.parametrize(
    ("backend", "truncation"),
    [
        *((name, "refuses") for name in ("jina", "cohere", "voyage", "ollama", "tei", "openai")),
        *((name, "refuses") for name in ("vllm", "llama.cpp", "sentence-transformers")),
        *((name, "cuts") for name in ("infinity", "tei-openai")),
        *((name, "unknown") for name in ("siliconflow", "scaleway", "router", "ollama-legacy")),
    ],
)
def test_truncation_of_backends(backend: str, truncation: str) -> None:
    assert package_catalog().backend(backend).truncation == truncation


@pytest.mark.parametrize(
    ("backend", "texts", "tokens", "size"),
    [
        ("cohere", 96, None, None),
        ("tei", 32, None, 2_000_000),
        ("elastic", 16, None, None),
        ("gemini", 100, None, None),
        ("siliconflow", 32, None, None),
        ("openai", 256, 300_000, None),
        ("voyage", 256, 120_000, None),
    ],
)
def test_request_limits(backend: str, texts: int, tokens: int | None, size: int | None) -> None:
    assert package_catalog().backend(backend).limits == RequestLimits(texts, tokens, size)


def test_price_of_a_model_depends_on_the_backend() -> None:
    prices = {
        host: package_catalog().backend(host).models["qwen3-embedding-8b"].price
        for host in ("siliconflow", "deepinfra", "openrouter", "ollama", "scaleway", "fireworks")
    }
    assert prices == {
        "siliconflow": 0.02,
        "deepinfra": 0.05,
        "openrouter": 0.01,
        "ollama": 0,
        "scaleway": None,
        "fireworks": None,  # sources disagree
    }
    assert package_catalog().backend("jina").free_tokens == 10_000_000


def test_siliconflow_truncates_only_to_listed_dimensions_of_qwen3() -> None:
    host = package_catalog().backend("siliconflow")
    assert host.cuts_to("qwen3-embedding-8b", 1024)
    assert not host.cuts_to("qwen3-embedding-8b", 1536)
    assert package_catalog().backend("siliconflow-cn").cuts_to("qwen3-embedding-8b", 1536)
    assert not host.cuts_to("bge-m3", 1024)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'jina-embedings-v3'; did you mean jina-embeddings-v3"):
        package_catalog().model("jina-embedings-v3")
    with pytest.raises(UsageError, match=r"did you mean qwen3-embedding-8b or "):
        package_catalog().model("qwen3-8b")
    with pytest.raises(UsageError, match="'xyz'; ragctl models lists all"):
        package_catalog().model("xyz")
    with pytest.raises(UsageError, match="did you mean siliconflow"):
        package_catalog().backend("silikonflow")


def test_allowed_dimensions() -> None:
    qwen = package_catalog().model("qwen3-embedding-0.6b")
    assert qwen.size(None) == 1024
    assert qwen.size(32) == 32
    with pytest.raises(UsageError, match="no vectors of 31 dimensions; allowed: 32 to 1024"):
        qwen.size(31)
    with pytest.raises(UsageError, match="allowed: 64, 128, 256, 512, 896"):
        package_catalog().model("jina-code-embeddings-0.5b").size(100)
    with pytest.raises(UsageError, match="allowed: 1024"):
        package_catalog().model("bge-m3").size(512)


def test_rows_are_loaded() -> None:
    model = load_models(MODEL, "m.toml")["m"]
    assert (model.dims, model.query.prompt, model.price) == ((8,), "q: ", None)
    host = load_backends(BACKEND, "p.toml")["p"]
    assert (host.base_url, host.key_required, host.encoding) == (
        "https://host.test/v1",
        True,
        "probe",
    )
    check_every_row(Catalog({"m": model}, {"p": host}))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("dim = 8", "dimm = 8", r"m.toml, table \[m\]: unknown key 'dimm'; did you mean dim"),
        ("dim = 8", "", "dim is missing"),
        ("dim = 8", "dim = '8'", "dim must be a whole number, not a string"),
        ("dim = 8", "dim = true", "dim must be a whole number, not true or false"),
        ("dim = 8", "dim = 0", "dim must be 1 or more"),
        ("dim = 8", "dim = 8\ndims = [4]", "dims must hold the native size 8"),
        ("dim = 8", "dim = 8\ndims = [4, 8, 4]", "dims names 4 twice"),
        ("dim = 8", "dim = 8\ndims = 'all'", "dims must be a list, not a string"),
        ("dim = 8", "dim = 8\ndims = {min = 1, mx = 8}", "unknown key 'mx'; did you mean max"),
        ("dim = 8", "dim = 8\ndims = {min = 9, max = 10}", "dims must span the native size 8"),
        ("dim = 8", "dim = 8\ntrained = [4]", "trained holds 4"),
        ("normalized = true", "normalized = 1", "normalized must be true or false"),
        ('"cosine"', '"cosin"', "distance cannot be 'cosin'; did you mean cosine"),
        ('prompt = "q: "', 'promt = "q: "', r"table \[m.query\]: unknown key 'promt'"),
        ('backend = "p"', 'backend = "p"\nprice = "free"', "price must be a number, not a string"),
        ("dim = 8", "dim = 8\npooling = 'max'", "pooling cannot be 'max'"),
        ("dim = 8", "dim = 8\nnon_commercial = 'yes'", "non_commercial must be true or false"),
        ("dim = 8", "dim = 8\ntasks = {retrieval = {}}", "retrieval is the row's own document"),
        (
            "dim = 8",
            "dim = 8\ntasks = {a = {documents = {}}}",
            r"\[m.tasks.a\]: unknown key 'docum",
        ),
        ('{ prompt = "" }', '{ library = { promptname = "" } }', "unknown key 'promptname'; did"),
        ("[m]", "[m]\n[m]", "m.toml, line 3: is not valid TOML"),
        ("[m]", "x = 1\n[m]", "m.toml: x must be a table"),
    ],
)
def test_wrong_model_rows_are_refused(old: str, new: str, error: str) -> None:
    assert old in MODEL
    with pytest.raises(UsageError, match=error):
        load_models(MODEL.replace(old, new), "m.toml")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"openai"', '"open-ai"', "wire cannot be 'open-ai'; did you mean openai"),
        ("https://host.test/v1/", "host.test/v1", "base_url must be an http or https address"),
        ('keys = ["P_KEY"]', "keys = 'P_KEY'", "keys must be a list, not a string"),
        ('keys = ["P_KEY"]', "keys = ['A', 'A']", "keys names 'A' twice"),
        ('keys = ["P_KEY"]', "key_required = true", "key_required needs"),
        ("texts = 4", "text = 4", "unknown key 'text'; did you mean texts"),
        ("texts = 4", "tokens = 4", "texts is missing"),
        ('m = "M"', "m = {idd = 'M'}", r"table \[p.models.m\]: unknown key 'idd'"),
        ('m = "M"', "m = {id = 'M', fields = ['tusk']}", "fields cannot hold 'tusk'"),
        ("dimensions = true", "", "dimensions is missing"),
        ("dimensions = true", "dimensions = true\nconcurrency = 0", "concurrency must be 1 or mo"),
        ("dimensions = true", "dimensions = true\nprice = '1'", "price must be a number, not a st"),
        ("dimensions = true", "dimensions = true\ntruncation = 'cut'", "did you mean cuts"),
        ("dimensions = true", "dimensions = true\nrates = {rpm = 5}", "unknown key 'rpm'"),
        ("dimensions = true", "dimensions = true\nruntime = {dtype = 'int8'}", "dtype cannot be"),
    ],
)
def test_wrong_backend_rows_are_refused(old: str, new: str, error: str) -> None:
    assert old in BACKEND
    with pytest.raises(UsageError, match=error):
        load_backends(BACKEND.replace(old, new), "p.toml")


@pytest.mark.parametrize(
    ("model", "backend", "error"),
    [
        (MODEL, BACKEND.replace('m = "M"', 'mm = "M"'), "'mm': no such model; did you mean|known"),
        (MODEL.replace('"p"', '"pp"'), BACKEND, "no backend is called 'pp'"),
        (MODEL, BACKEND.replace('m = "M"', ""), "its backend p does not serve it"),
        (MODEL.replace('prompt = ""', 'task = "t"'), BACKEND, "prompts are not known"),
        (
            MODEL,
            BACKEND.replace('"openai"', '"cohere"'),
            "cohere wire needs the task of each",
        ),
        (MODEL, BACKEND.replace('"M"', '{id = "M", dims = [4]}'), "dims holds 4; the model has 8"),
        (
            MODEL.replace("dim = 8", "dim = 8\ncontext = 9"),
            BACKEND.replace('"M"', '{id = "M", context = 10}'),
            "context 10 is above the model's 9",
        ),
        (
            MODEL,
            BACKEND.replace('base_url = "https://host.test/v1/"', ""),
            r"p.toml, table \[p\]: base_url is missing",
        ),
        (
            MODEL,
            BACKEND.replace('wire = "openai"', 'wire = "fastembed"'),
            r"p.toml, table \[p\]: base_url has no meaning for a wire without",
        ),
    ],
)
def test_inconsistent_tables_are_refused(model: str, backend: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        check_every_row(Catalog(load_models(model, "m.toml"), load_backends(backend, "p.toml")))


@pytest.mark.parametrize("word", ["key", "api_key", "token", "secret", "password"])
def test_secret_in_a_row_is_refused_and_not_quoted(word: str) -> None:
    row = BACKEND.replace("[p]", f'[p]\n{word} = "sk-hidden"')
    with pytest.raises(UsageError, match=f"a key does not belong in a file .found {word}.") as info:
        load_backends(row, "p.toml")
    assert "sk-hidden" not in str(info.value)


def test_backend_price_applies_to_models_without_a_price() -> None:
    row = BACKEND.replace("dimensions = true", "dimensions = true\nprice = 0.5")
    assert load_backends(row, "p.toml")["p"].models["m"].price == 0.5
    priced = row.replace('"M"', '{ id = "M", price = 0 }')
    assert load_backends(priced, "p.toml")["p"].models["m"].price == 0
    unpriced = row.replace('"M"', '{ id = "M" }')
    assert load_backends(unpriced, "p.toml")["p"].models["m"].price == 0.5


def test_other_task_on_a_single_task_backend_is_refused() -> None:
    shipped = package_catalog()

    def resolve(backend: str, model: str, task: str) -> None:
        BackendConfig(backend).resolve(shipped, model, task)

    resolve("sentence-transformers", "jina-embeddings-v5-text-small", "clustering")
    resolve("fastembed", "jina-embeddings-v3", "clustering")
    resolve("ollama", "nomic-embed-text-v1.5", "clustering")  # only the prompt differs
    resolve("vllm", "jina-code-embeddings-1.5b", "code2nl")
    for backend in ("fastembed", "vllm", "tei", "ollama", "llama.cpp"):
        resolve(backend, "jina-embeddings-v5-text-small", "retrieval")
        with pytest.raises(UsageError, match=f"{backend} serves .* but for retrieval: clustering"):
            resolve(backend, "jina-embeddings-v5-text-small", "clustering")
    with pytest.raises(UsageError, match="code needs other weights"):
        resolve("llama.cpp", "jina-embeddings-v4", "code")
