"""Arguments passed to sentence-transformers for each side of each model; nothing is loaded."""

import pytest

from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.wires.sentence_transformers import arguments
from tests.facts import QWEN

NONE = {"prompt": ""}
EXPECTED_ARGUMENTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "jina-embedding-b-en-v1": (NONE, NONE),
    **{
        f"jina-embeddings-v2-base-{lang}": (NONE, NONE) for lang in ("en", "de", "es", "zh", "code")
    },
    "jina-embeddings-v3": (
        {"task": "retrieval.passage", "prompt_name": "retrieval.passage"},
        {"task": "retrieval.query", "prompt_name": "retrieval.query"},
    ),
    "jina-embeddings-v4": (
        {"task": "retrieval", "prompt_name": "passage"},
        {"task": "retrieval", "prompt_name": "query"},
    ),
    **{
        f"jina-embeddings-v5-text-{size}": (
            {"task": "retrieval", "prompt": "Document: "},
            {"task": "retrieval", "prompt": "Query: "},
        )
        for size in ("small", "nano")
    },
    **{
        f"jina-code-embeddings-{size}": (
            {"prompt_name": "nl2code_document"},
            {"prompt_name": "nl2code_query"},
        )
        for size in ("0.5b", "1.5b")
    },
    **{f"qwen3-embedding-{size}": (NONE, {"prompt": QWEN}) for size in ("0.6b", "4b", "8b")},
    "bge-m3": (NONE, NONE),
    **{
        f"multilingual-e5-{size}": ({"prompt": "passage: "}, {"prompt": "query: "})
        for size in ("small", "large")
    },
    **{
        f"nomic-embed-text-{version}": (
            {"prompt": "search_document: "},
            {"prompt": "search_query: "},
        )
        for version in ("v1.5", "v2-moe")
    },
    "all-minilm-l6-v2": (NONE, NONE),
    **{
        name: ({"prompt": "search_document: "}, {"prompt": "search_query: "})
        for name in ("frida", "ru-en-rosberta")
    },
    "embeddinggemma-300m": (
        {"prompt": "title: none | text: "},
        {"prompt": "task: search result | query: "},
    ),
    **{f"snowflake-arctic-embed-{name}-v2.0": (NONE, {"prompt": "query: "}) for name in ("l", "m")},
    **{
        name: (NONE, {"prompt": "Represent this sentence for searching relevant passages: "})
        for name in (
            "snowflake-arctic-embed-m-v1.5",
            "snowflake-arctic-embed-l",
            "mxbai-embed-large-v1",
        )
    },
    **dict.fromkeys(
        (
            "gte-multilingual-base",
            "gte-modernbert-base",
            "granite-embedding-311m-multilingual-r2",
            "granite-embedding-97m-multilingual-r2",
            "granite-embedding-278m-multilingual",
        ),
        (NONE, NONE),
    ),
    **{
        f"qwen3-vl-embedding-{size}": (
            {"prompt": "Represent the user's input."},
            {"prompt": "Retrieve relevant passages that answer the user's query."},
        )
        for size in ("2b", "8b")
    },
    "voyage-4-nano": (
        {"prompt": "Represent the document for retrieval: "},
        {"prompt": "Represent the query for retrieving supporting documents: "},
    ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED_ARGUMENTS))
def test_arguments_of_each_side(name: str) -> None:
    model = package_catalog().model(name)
    assert (arguments(model.document), arguments(model.query)) == EXPECTED_ARGUMENTS[name]


def test_every_model_of_the_runtime_is_tested() -> None:
    assert set(package_catalog().backend("sentence-transformers").models) == set(EXPECTED_ARGUMENTS)
