"""BM25: Qdrant's weights, and language-specific rules for documents and queries."""

import dataclasses

import pytest
import qdrant_edge
from qdrant_client import models

from ragctl.errors import UsageError
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.lexical.languages import BM25_NAMES

FOUR = Bm25Config(("en", "ru", "zh", "de"))


def test_engine_weights_equal_the_computed_ones() -> None:
    texts = {
        "en": "The valve V400 of the pump, and the pump's 3 valves: open, open, closed.",
        "de": "Die Ventile der Pumpe schließen, wenn die Pumpe anläuft; 12 Bar.",
        "ru": "Клапаны насоса закрываются, когда насос запускается. Насос 3.",
    }
    sparse = Bm25Encoder(FOUR)
    for language, text in texts.items():
        ((indices, weights),) = sparse.documents([text], [language])
        counted = sparse._weigh(sparse._tokens(text, language))
        assert len(indices) >= 5
        assert indices == counted[0]
        assert weights == pytest.approx(counted[1], rel=1e-5)


def ids(sparse: Bm25Encoder, text: str, language: str) -> set[int]:
    ((indices, _),) = sparse.documents([text], [language])
    return set(indices)


def query_ids(sparse: Bm25Encoder, text: str) -> set[int]:
    return set(sparse.query(text)[0])


def engine(config: Bm25Config, language: str) -> qdrant_edge.Bm25:
    """Return Qdrant's BM25 model with the configuration that a server would get."""
    options = config.server_config(language)
    neutral = "stemmer" in options
    word = options["tokenizer"] == "word"
    kind = qdrant_edge.TokenizerType
    return qdrant_edge.Bm25(
        qdrant_edge.Bm25Config(
            k=config.k,
            b=config.b,
            avg_len=config.avg_len,
            tokenizer=kind.Word if word else kind.Multilingual,
            language=None if neutral else str(options["language"]),
            stemmer=qdrant_edge.DisabledStemmer() if neutral else None,
            stopwords=qdrant_edge.StopwordsSet(set(), set()) if neutral else None,
        )
    )


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The servers of the server room ran for 40 days; servers run longer in winter."),
        ("ru", "Серверы в серверной работали 40 дней, и сервер работал дольше зимой."),
        ("de", "Die Server im Serverraum liefen 40 Tage; der Server lief im Winter länger."),
        ("zh", "服务器机房里的服务器运行时间更长，服务器在冬天更好。"),
        ("und", "Сервери серверної кімнати працювали довше, сервери взимку."),
    ],
)
def test_weights_equal_those_of_the_engine(language: str, text: str) -> None:
    text = text * 7
    ((indices, values),) = Bm25Encoder(FOUR).documents([text], [language])
    expected_vector = engine(FOUR, language).embed_document(text)
    assert indices == sorted(expected_vector.indices)
    expected = dict(zip(expected_vector.indices, expected_vector.values, strict=True))
    assert values == pytest.approx([expected[token] for token in indices], rel=1e-5)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_server_accepts_the_configuration(language: str) -> None:
    options = models.Bm25Config.model_validate(FOUR.server_config(language))
    assert options.b == FOUR.b


@pytest.mark.parametrize("language", sorted(BM25_NAMES))
def test_every_language_has_rules(language: str) -> None:
    sparse = Bm25Encoder(Bm25Config((language, "en" if language != "en" else "de")))
    assert ids(sparse, "pump 12 насос 泵 المضخة", language)
    assert query_ids(sparse, "pump 12 насос 泵 المضخة")


@pytest.mark.parametrize(
    ("language", "document", "query"),
    [
        ("en", "Replacing the filters", "how was the filter replaced"),
        ("ru", "Замена воздушных фильтров", "воздушный фильтр"),
        ("de", "Die Häuser der Städte", "ein Haus in der Stadt"),
        ("zh", "如何更换空气过滤器", "过滤器"),
        ("und", "Заміна фільтрів", "фільтрів"),
    ],
)
@pytest.mark.parametrize("collection", ["own", "four"])
def test_query_matches_inflected_words(
    language: str, document: str, query: str, collection: str
) -> None:
    languages = () if language == "und" else (language,)
    sparse = Bm25Encoder(FOUR if collection == "four" else Bm25Config(languages))
    assert query_ids(sparse, query) & ids(sparse, document, language)


def test_stop_words_of_the_query_do_not_reach_documents_of_other_languages() -> None:
    sparse = Bm25Encoder(FOUR)
    german = ids(sparse, "The Hammer of Thor ist der Titel, and so what", "de")
    assert german & ids(Bm25Encoder(Bm25Config()), "the of and so what", "und")  # contains them
    assert not query_ids(sparse, "what is the name of the pump and so on") & german


def test_query_keeps_stop_words_of_other_languages() -> None:
    """German "war" and "die" are also English words."""
    sparse = Bm25Encoder(FOUR)
    assert query_ids(sparse, "when did the war in the north begin") & ids(sparse, "the war", "en")


def test_documents_of_unknown_language_are_found_by_their_words() -> None:
    sparse = Bm25Encoder(FOUR)
    unknown = ids(sparse, "def restart_servers(): running", "und")
    assert len(query_ids(sparse, "which of the restart servers is running") & unknown) == 3


@pytest.mark.parametrize("language", ["zh", "und"])
def test_numbers_are_tokens_in_every_language(language: str) -> None:
    sparse = Bm25Encoder(FOUR)
    document = ids(sparse, "端口8883在2024年开放，错误E104", language)
    for number in ("8883", "2024"):
        assert query_ids(sparse, number) & document, number
    assert not query_ids(sparse, "104") & document  # a part of the code, not a number


def test_number_weights_count_towards_the_length() -> None:
    sparse = Bm25Encoder(FOUR)
    ((_, short),) = sparse.documents(["泵"], ["zh"])
    ((_, long),) = sparse.documents(["泵" + " 1 22 333" * 40], ["zh"])
    assert min(long) < short[0]


def test_chinese_inside_a_german_document_is_found() -> None:
    sparse = Bm25Encoder(Bm25Config(("de",)))
    document = ids(sparse, "Typenschild: 空气过滤器更换周期, siehe Anlage", "de")
    assert query_ids(sparse, "过滤器") & document


def test_query_weights_are_one() -> None:
    indices, values = Bm25Encoder(FOUR).query("pump pump filter")
    assert indices == sorted(set(indices))
    assert set(values) == {1.0}


def test_texts_without_tokens() -> None:
    sparse = Bm25Encoder(FOUR)
    assert sparse.documents(["", "…", "the of"], ["en", "zh", "en"]) == [([], [])] * 3
    assert sparse.query("…") == ([], [])


def test_different_numbers_of_texts_and_languages_raise() -> None:
    with pytest.raises(ValueError, match="zip"):
        Bm25Encoder(FOUR).documents(["a", "b"], ["en"])


def test_json_round_trip() -> None:
    config = Bm25Config(("ru", "zh"), k=1.5, b=0.4, avg_len=90.0)
    assert Bm25Config.from_json(config.to_json()) == config
    assert Bm25Config.from_json(Bm25Config().to_json()) == Bm25Config()


@pytest.mark.parametrize(
    "change",
    [
        {"k": "1.2"},
        {"b": True},
        {"languages": "en"},
        {"languages": [1]},
        {"languages": ["xx"]},
        {"extra": 1},
    ],
)
def test_json_is_strict(change: dict[str, object]) -> None:
    stored = {**Bm25Config().to_json(), **change}
    with pytest.raises(UsageError):
        Bm25Config.from_json(stored)  # type: ignore[arg-type]


def test_json_needs_every_key() -> None:
    for field in dataclasses.fields(Bm25Config):
        stored = Bm25Config().to_json()
        del stored[field.name]
        with pytest.raises(UsageError, match=field.name):
            Bm25Config.from_json(stored)


@pytest.mark.parametrize(
    "settings", [{"k": -1.0}, {"b": 1.5}, {"avg_len": 0.0}, {"languages": ("en", "en")}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Bm25Config(**settings)  # type: ignore[arg-type]
