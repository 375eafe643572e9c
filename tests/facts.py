"""Facts about models and hosts, independent of the catalogue that they check."""

from collections.abc import Callable
from dataclasses import dataclass

QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
RETRIEVAL = ("retrieval.passage", "retrieval.query")
NL2CODE = ("nl2code.passage", "nl2code.query")


@dataclass(frozen=True)
class Facts:
    """A model: native and smaller dimension (None: none), tokens per text, prompts and tasks.

    A task of None: the model's API has none. A prompt of None: not published.
    `unit`: Jina's API has a field for normalisation. `largest`: a dimension above the
    native one that the model supports.
    """

    native: int
    smaller: int | None
    context: int
    prompts: tuple[str | None, str | None] = ("", "")
    tasks: tuple[str | None, str | None] = (None, None)
    unit: bool = False
    largest: int | None = None

    @property
    def sided(self) -> bool:
        return any(self.tasks) or any(self.prompts)


_V3 = (
    "Represent the document for retrieval: ",
    "Represent the query for retrieving evidence documents: ",
)
_V5 = ("Document: ", "Query: ")
_CODE = (
    "Candidate code snippet:\n",
    "Find the most relevant code snippet given the following query:\n",
)
_E5 = ("passage: ", "query: ")
_NOMIC = ("search_document: ", "search_query: ")
_VOYAGE = (
    "Represent the document for retrieval: ",
    "Represent the query for retrieving supporting documents: ",
)
_GEMMA = ("title: none | text: ", "task: search result | query: ")
_PASSAGES = "Represent this sentence for searching relevant passages: "
_QWEN_VL = (
    "Represent the user's input.",
    "Retrieve relevant passages that answer the user's query.",
)
_UNKNOWN = (None, None)
_COHERE = ("search_document", "search_query")
_GEMINI = ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")
_PLAIN = ("document", "query")
FACTS = {
    "jina-embedding-b-en-v1": Facts(768, None, 512),
    **{
        f"jina-embeddings-v2-base-{lang}": Facts(768, None, 8192, unit=True)
        for lang in ("en", "de", "es", "zh", "code")
    },
    "jina-embeddings-v3": Facts(1024, 256, 8192, _V3, RETRIEVAL, unit=True),
    "jina-embeddings-v4": Facts(2048, 512, 32768, ("Passage: ", "Query: "), RETRIEVAL),
    **{
        f"jina-embeddings-v5-{kind}-{size}": Facts(*sizes, _V5, RETRIEVAL, unit=True)
        for kind in ("text", "omni")
        for size, sizes in (("small", (1024, 512, 32768)), ("nano", (768, 32, 8192)))
    },
    "jina-code-embeddings-0.5b": Facts(896, 64, 32768, _CODE, NL2CODE),
    "jina-code-embeddings-1.5b": Facts(1536, 128, 32768, _CODE, NL2CODE),
    "jina-clip-v1": Facts(768, None, 8192),
    "jina-clip-v2": Facts(1024, 64, 8192, ("", None), (None, "retrieval.query")),
    "text-embedding-3-small": Facts(1536, 512, 8191),
    "text-embedding-3-large": Facts(3072, 256, 8191),
    "embed-multilingual-v3.0": Facts(1024, None, 512, _UNKNOWN, _COHERE),
    "embed-v4.0": Facts(1536, 256, 128_000, _UNKNOWN, _COHERE),
    "embed-v5.0-pro": Facts(2048, 768, 128_000, _UNKNOWN, _COHERE),
    "embed-v5.0-fast": Facts(2048, 256, 128_000, _UNKNOWN, _COHERE),
    **{
        f"voyage-{name}": Facts(1024, 256, 32_000, _VOYAGE, _PLAIN, largest=2048)
        for name in ("4-large", "4", "4-lite", "3-large", "3.5", "3.5-lite", "code-3")
    },
    "voyage-4-nano": Facts(2048, 512, 32_000, _VOYAGE),
    "voyage-3": Facts(1024, None, 32_000, _VOYAGE, _PLAIN),
    "voyage-3-lite": Facts(512, None, 32_000, _VOYAGE, _PLAIN),
    "gemini-embedding-001": Facts(3072, 768, 2048, _UNKNOWN, _GEMINI),
    "gemini-embedding-2": Facts(3072, 768, 8192, _GEMMA),
    "text-embedding-v4": Facts(1024, 64, 8192, largest=2048),
    "mistral-embed": Facts(1024, None, 8192),
    "frida": Facts(1536, None, 512, _NOMIC),
    "ru-en-rosberta": Facts(1024, None, 512, _NOMIC),
    "embeddinggemma-300m": Facts(768, 128, 2048, _GEMMA),
    "snowflake-arctic-embed-l-v2.0": Facts(1024, 256, 8192, ("", "query: ")),
    "snowflake-arctic-embed-m-v2.0": Facts(768, 256, 8192, ("", "query: ")),
    "snowflake-arctic-embed-m-v1.5": Facts(768, 256, 512, ("", _PASSAGES)),
    "snowflake-arctic-embed-l": Facts(1024, None, 512, ("", _PASSAGES)),
    "mxbai-embed-large-v1": Facts(1024, 512, 512, ("", _PASSAGES)),
    "gte-multilingual-base": Facts(768, 128, 8192),
    "gte-modernbert-base": Facts(768, None, 8192),
    "granite-embedding-311m-multilingual-r2": Facts(768, 384, 8192),
    "granite-embedding-97m-multilingual-r2": Facts(384, None, 8192),
    "granite-embedding-278m-multilingual": Facts(768, None, 512),
    "qwen3-vl-embedding-2b": Facts(2048, 64, 32768, _QWEN_VL),
    "qwen3-vl-embedding-8b": Facts(4096, 64, 32768, _QWEN_VL),
    "qwen3-embedding-0.6b": Facts(1024, 256, 32768, ("", QWEN)),
    "qwen3-embedding-4b": Facts(2560, 64, 32768, ("", QWEN)),
    "qwen3-embedding-8b": Facts(4096, 1024, 32768, ("", QWEN)),
    "bge-m3": Facts(1024, None, 8192),
    "multilingual-e5-large": Facts(1024, None, 512, _E5),
    "multilingual-e5-small": Facts(384, None, 512, _E5),
    "nomic-embed-text-v1.5": Facts(768, 256, 8192, _NOMIC),
    "nomic-embed-text-v2-moe": Facts(768, 256, 512, _NOMIC),
    "all-minilm-l6-v2": Facts(384, None, 256),
}
SideParameters = tuple[str | None, str | None]
"""A side's task and prompt."""


def _same_for_both(task: str | None, prompt: str | None) -> tuple[SideParameters, SideParameters]:
    """Return the two sides of a task with the same parameters for both."""
    return (task, prompt), (task, prompt)


def _code(task: str, document: str, query: str) -> tuple[SideParameters, SideParameters]:
    return (f"{task}.passage", f"Candidate {document}:\n"), (f"{task}.query", f"Find {query}:\n")


_OTHER_OF_V5 = {
    task: _same_for_both(task, "Document: ")
    for task in ("text-matching", "classification", "clustering")
}
_OTHER_OF_CODE = {
    "qa": _code("qa", "answer", "the most relevant answer given the following question"),
    "code2code": _code(
        "code2code",
        "code snippet",
        "an equivalent code snippet given the following code snippet",
    ),
    "code2nl": _code(
        "code2nl", "comment", "the most relevant comment given the following code snippet"
    ),
    "code2completion": _code(
        "code2completion",
        "completion",
        "the most relevant completion given the following start of code snippet",
    ),
}
_OTHER_OF_COHERE = {task: _same_for_both(task, None) for task in ("classification", "clustering")}
_OTHER_OF_GEMMA = {
    **{
        task: _same_for_both(None, f"task: {name} | query: ")
        for task, name in (
            ("text-matching", "sentence similarity"),
            ("classification", "classification"),
            ("clustering", "clustering"),
        )
    },
    **{
        task: ((None, _GEMMA[0]), (None, f"task: {name} | query: "))
        for task, name in (
            ("qa", "question answering"),
            ("fact-checking", "fact checking"),
            ("nl2code", "code retrieval"),
        )
    },
}
OTHER_TASKS: dict[str, dict[str, tuple[SideParameters, SideParameters]]] = {
    "jina-embeddings-v3": {
        "text-matching": _same_for_both("text-matching", ""),
        "classification": _same_for_both("classification", ""),
        "clustering": _same_for_both("separation", ""),
    },
    "jina-embeddings-v4": {
        "code": (("code.passage", "Passage: "), ("code.query", "Query: ")),
        "text-matching": _same_for_both("text-matching", "Query: "),
    },
    **{
        f"jina-embeddings-v5-{kind}-{size}": _OTHER_OF_V5
        for kind in ("text", "omni")
        for size in ("small", "nano")
    },
    "jina-code-embeddings-0.5b": _OTHER_OF_CODE,
    "jina-code-embeddings-1.5b": _OTHER_OF_CODE,
    "embed-multilingual-v3.0": _OTHER_OF_COHERE,
    "embed-v4.0": _OTHER_OF_COHERE,
    "embed-v5.0-pro": _OTHER_OF_COHERE,
    "embed-v5.0-fast": _OTHER_OF_COHERE,
    "gemini-embedding-001": {
        "text-matching": _same_for_both("SEMANTIC_SIMILARITY", None),
        "classification": _same_for_both("CLASSIFICATION", None),
        "clustering": _same_for_both("CLUSTERING", None),
        "qa": (("RETRIEVAL_DOCUMENT", None), ("QUESTION_ANSWERING", None)),
        "fact-checking": (("RETRIEVAL_DOCUMENT", None), ("FACT_VERIFICATION", None)),
        "nl2code": (("RETRIEVAL_DOCUMENT", None), ("CODE_RETRIEVAL_QUERY", None)),
    },
    "gemini-embedding-2": _OTHER_OF_GEMMA,
    "embeddinggemma-300m": _OTHER_OF_GEMMA,
    "frida": {
        "text-matching": _same_for_both(None, "paraphrase: "),
        "classification": _same_for_both(None, "categorize: "),
        "clustering": _same_for_both(None, "categorize_topic: "),
    },
    "ru-en-rosberta": {
        "classification": _same_for_both(None, "classification: "),
        "clustering": _same_for_both(None, "clustering: "),
    },
    "nomic-embed-text-v1.5": {
        "clustering": _same_for_both(None, "clustering: "),
        "classification": _same_for_both(None, "classification: "),
    },
}
"""Document and query side of each other task of a model."""

LAYER_NORM = "nomic-embed-text-v1.5"
NOT_CUT_BY_JINA = "jina-clip-v2"  # unknown whether Jina's API truncates its vectors

_HUB = {
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "bge-m3": "BAAI/bge-m3",
    "jina-code-embeddings-0.5b": "jinaai/jina-code-embeddings-0.5b",
    "jina-code-embeddings-1.5b": "jinaai/jina-code-embeddings-1.5b",
    **{
        f"jina-embeddings-v2-base-{lang}": f"jinaai/jina-embeddings-v2-base-{lang}"
        for lang in ("en", "de", "es", "zh", "code")
    },
    "embeddinggemma-300m": "google/embeddinggemma-300m",
    "gte-modernbert-base": "Alibaba-NLP/gte-modernbert-base",
    "mxbai-embed-large-v1": "mixedbread-ai/mxbai-embed-large-v1",
    "snowflake-arctic-embed-l-v2.0": "Snowflake/snowflake-arctic-embed-l-v2.0",
    "jina-embeddings-v5-text-small": "jinaai/jina-embeddings-v5-text-small-retrieval",
    "multilingual-e5-large": "intfloat/multilingual-e5-large",
    "multilingual-e5-small": "intfloat/multilingual-e5-small",
    "nomic-embed-text-v1.5": "nomic-ai/nomic-embed-text-v1.5",
    "nomic-embed-text-v2-moe": "nomic-ai/nomic-embed-text-v2-moe",
    "qwen3-embedding-0.6b": "Qwen/Qwen3-Embedding-0.6B",
    "qwen3-embedding-4b": "Qwen/Qwen3-Embedding-4B",
    "qwen3-embedding-8b": "Qwen/Qwen3-Embedding-8B",
}
_QWENS = ("qwen3-embedding-0.6b", "qwen3-embedding-4b", "qwen3-embedding-8b")
_E5S = ("multilingual-e5-large", "multilingual-e5-small")
_CODES = ("jina-code-embeddings-0.5b", "jina-code-embeddings-1.5b")
_OPENAIS = ("text-embedding-3-small", "text-embedding-3-large")


def _of_hub(*models: str) -> dict[str, str]:
    return {model: _HUB[model] for model in models}


def _same(*models: str) -> dict[str, str]:
    return {model: model for model in models}


# Backends with OpenAI's protocol: encoding_format (None: the test server refuses it), model names.
OPENAI: dict[str, tuple[str | None, dict[str, str]]] = {
    "openai": ("base64", _same(*_OPENAIS)),
    "dashscope": ("float", _same("text-embedding-v4")),
    "dashscope-cn": ("float", _same("text-embedding-v4")),
    "mistral": ("base64", _same("mistral-embed")),
    "siliconflow": ("base64", _of_hub("bge-m3", *_QWENS)),
    "siliconflow-cn": ("base64", _of_hub("bge-m3", *_QWENS)),
    "deepinfra": (None, _of_hub("multilingual-e5-large", *_QWENS)),
    "fireworks": (None, {"qwen3-embedding-8b": "fireworks/qwen3-embedding-8b"}),
    "scaleway": (None, _same("qwen3-embedding-8b")),
    "openrouter": (
        "base64",
        {
            "bge-m3": "baai/bge-m3",
            "multilingual-e5-large": "intfloat/multilingual-e5-large",
            **{model: f"qwen/{model}" for model in _QWENS},
        },
    ),
    "router": (None, _same("bge-m3", "multilingual-e5-large", *_QWENS, *_OPENAIS)),
    "tei-openai": ("base64", {m: model_id for m, model_id in _HUB.items() if m not in _CODES}),
    "vllm": (
        "base64",
        _of_hub(
            "bge-m3",
            *_CODES,
            "jina-embeddings-v5-text-small",
            *_E5S,
            *_QWENS,
            "embeddinggemma-300m",
        ),
    ),
    "infinity": ("base64", _of_hub("all-minilm-l6-v2", "bge-m3", *_E5S)),
    "llama.cpp": (
        None,
        {
            "jina-embeddings-v4": "jina-embeddings-v4-text-retrieval",
            "jina-embeddings-v5-text-small": "jina-embeddings-v5-text-small-retrieval",
            **_same(*_CODES, *_QWENS),
        },
    ),
}

_SILICONFLOW = (64, 128, 256, 512, 768, 1024, 2048, 4096)
SIZES: dict[str, Callable[[str, int], bool]] = {
    "openai": lambda model, dim: True,
    "deepinfra": lambda model, dim: True,
    "dashscope": lambda model, dim: True,
    "dashscope-cn": lambda model, dim: True,
    "fireworks": lambda model, dim: True,
    "tei-openai": lambda model, dim: model != LAYER_NORM,
    "siliconflow": lambda model, dim: dim in _SILICONFLOW,
    "siliconflow-cn": lambda model, dim: dim in (*_SILICONFLOW, 1536, 2560),
}
"""Backends that `dimensions` is sent to, and for which dimensions; the others never get it."""
