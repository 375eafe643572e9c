"""The catalogue: its own tables are whole, and wrong rows are refused by name."""

import pytest

from ragctl import catalog
from ragctl.catalog import Catalog, load_models, load_providers
from ragctl.errors import UsageError

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

PROVIDER = """
[p]
wire = "openai"
base_url = "https://host.test/v1/"
keys = ["P_KEY"]
dimensions = true
limits = { texts = 4 }
models = { m = "M" }
"""

QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


def test_every_model_is_served_by_its_own_backend() -> None:
    for model in catalog.builtin().models.values():
        assert model.name in catalog.builtin().provider(model.backend).models
        assert model.dim in model.dims
        assert model.normalized


@pytest.mark.parametrize(
    ("name", "dim", "document", "query"),
    [
        ("jina-embeddings-v2-base-zh", 768, ("", None), ("", None)),
        (
            "jina-embeddings-v3",
            1024,
            ("Represent the document for retrieval: ", "retrieval.passage"),
            ("Represent the query for retrieving evidence documents: ", "retrieval.query"),
        ),
        (
            "jina-embeddings-v4",
            2048,
            ("Passage: ", "retrieval.passage"),
            ("Query: ", "retrieval.query"),
        ),
        (
            "jina-embeddings-v5-text-small",
            1024,
            ("Document: ", "retrieval.passage"),
            ("Query: ", "retrieval.query"),
        ),
        ("text-embedding-3-large", 3072, ("", None), ("", None)),
        ("qwen3-embedding-8b", 4096, ("", None), (QWEN, None)),
        ("multilingual-e5-small", 384, ("passage: ", None), ("query: ", None)),
    ],
)
def test_sides_and_size(
    name: str, dim: int, document: tuple[str, str | None], query: tuple[str, str | None]
) -> None:
    model = catalog.builtin().model(name)
    assert model.dim == dim
    assert (model.document.prompt, model.document.task) == document
    assert (model.query.prompt, model.query.task) == query


def test_siliconflow_is_asked_only_for_listed_sizes_of_qwen3() -> None:
    host = catalog.builtin().provider("siliconflow")
    assert host.cuts_to("qwen3-embedding-8b", 1024)
    assert not host.cuts_to("qwen3-embedding-8b", 1536)
    assert catalog.builtin().provider("siliconflow-cn").cuts_to("qwen3-embedding-8b", 1536)
    assert not host.cuts_to("bge-m3", 1024)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'jina-embedings-v3'; did you mean jina-embeddings-v3"):
        catalog.builtin().model("jina-embedings-v3")
    with pytest.raises(UsageError, match=r"did you mean qwen3-embedding-8b\?"):
        catalog.builtin().model("qwen3-8b")
    with pytest.raises(UsageError, match="known: all-minilm-l6-v2, bge-m3, builtin"):
        catalog.builtin().model("xyz")
    with pytest.raises(UsageError, match="did you mean siliconflow"):
        catalog.builtin().provider("silikonflow")


def test_sizes() -> None:
    qwen = catalog.builtin().model("qwen3-embedding-0.6b")
    assert qwen.size(None) == 1024
    assert qwen.size(32) == 32
    with pytest.raises(UsageError, match="no vectors of 31 dimensions; allowed: 32 to 1024"):
        qwen.size(31)
    with pytest.raises(UsageError, match="allowed: 64, 128, 256, 512, 896"):
        catalog.builtin().model("jina-code-embeddings-0.5b").size(100)
    with pytest.raises(UsageError, match="allowed: 1024"):
        catalog.builtin().model("bge-m3").size(512)


def test_rows_are_read_as_written() -> None:
    model = load_models(MODEL, "m.toml")["m"]
    assert (model.dims, model.query.prompt, model.price) == ((8,), "q: ", None)
    host = load_providers(PROVIDER, "p.toml")["p"]
    assert (host.base_url, host.key_required, host.encoding) == (
        "https://host.test/v1",
        True,
        "unset",
    )
    catalog.check(Catalog({"m": model}, {"p": host}))


@pytest.mark.parametrize(
    ("change", "to", "error"),
    [
        ("dim = 8", "dimm = 8", r"m.toml, table \[m\]: unknown key 'dimm'; did you mean dim"),
        ("dim = 8", "", "dim is missing"),
        ("dim = 8", "dim = '8'", "dim must be a whole number, not a text"),
        ("dim = 8", "dim = true", "dim must be a whole number, not true or false"),
        ("dim = 8", "dim = 0", "dim must be 1 or more"),
        ("dim = 8", "dim = 8\ndims = [4]", "dims must hold the native size 8"),
        ("dim = 8", "dim = 8\ndims = [4, 8, 4]", "dims names 4 twice"),
        ("dim = 8", "dim = 8\ndims = 'all'", "dims must be a list, not a text"),
        ("dim = 8", "dim = 8\ndims = {min = 1, mx = 8}", "unknown key 'mx'; did you mean max"),
        ("dim = 8", "dim = 8\ndims = {min = 9, max = 10}", "dims must span the native size 8"),
        ("dim = 8", "dim = 8\ntrained = [4]", "trained holds 4"),
        ("normalized = true", "normalized = 1", "normalized must be true or false"),
        ('"cosine"', '"cosin"', "distance cannot be 'cosin'; did you mean cosine"),
        ('prompt = "q: "', 'promt = "q: "', r"table \[m.query\]: unknown key 'promt'"),
        ('backend = "p"', 'backend = "p"\nprice = "free"', "price must be a number, not a text"),
        ("[m]", "[m]\n[m]", "m.toml is not valid TOML"),
        ("[m]", "x = 1\n[m]", "m.toml: x must be a table"),
    ],
)
def test_wrong_model_rows(change: str, to: str, error: str) -> None:
    assert change in MODEL
    with pytest.raises(UsageError, match=error):
        load_models(MODEL.replace(change, to), "m.toml")


@pytest.mark.parametrize(
    ("change", "to", "error"),
    [
        ('"openai"', '"open-ai"', "wire cannot be 'open-ai'; did you mean openai"),
        ("https://host.test/v1/", "host.test/v1", "base_url must be an http or https address"),
        ('base_url = "https://host.test/v1/"', "", "base_url is missing"),
        ('keys = ["P_KEY"]', "keys = 'P_KEY'", "keys must be a list, not a text"),
        ('keys = ["P_KEY"]', "keys = ['A', 'A']", "keys names 'A' twice"),
        ('keys = ["P_KEY"]', "key_required = true", "key_required needs"),
        ("texts = 4", "text = 4", "unknown key 'text'; did you mean texts"),
        ("texts = 4", "tokens = 4", "texts is missing"),
        ('m = "M"', "m = {idd = 'M'}", r"table \[p.models.m\]: unknown key 'idd'"),
        ('m = "M"', "m = {id = 'M', fields = ['tusk']}", "fields cannot hold 'tusk'"),
        ("dimensions = true", "", "dimensions is missing"),
    ],
)
def test_wrong_provider_rows(change: str, to: str, error: str) -> None:
    assert change in PROVIDER
    with pytest.raises(UsageError, match=error):
        load_providers(PROVIDER.replace(change, to), "p.toml")


@pytest.mark.parametrize(
    ("model", "provider", "error"),
    [
        (MODEL, PROVIDER.replace('m = "M"', 'mm = "M"'), "'mm': no such model; did you mean|known"),
        (MODEL.replace('"p"', '"pp"'), PROVIDER, "no backend is called 'pp'"),
        (MODEL, PROVIDER.replace('m = "M"', ""), "its backend p does not serve it"),
        (MODEL.replace('prompt = ""', 'task = "t"'), PROVIDER, "prompts are not known"),
    ],
)
def test_tables_that_do_not_fit(model: str, provider: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        catalog.check(Catalog(load_models(model, "m.toml"), load_providers(provider, "p.toml")))
