"""Estimates of a model's tokens: above what its tokenizer makes, and not far above."""

import pytest

from ragctl import chunking
from ragctl.embedding.token_bounds import TokenBounds

# A sentence of 20 in a row, and the tokens that WordPiece of all-MiniLM-L6-v2 makes of them.
MEASURED = {
    "Клапан теплового насоса проверяется каждые три месяца. ": 900,
    "我们每三个月检查一次热泵的阀门，并记录压力。": 440,
    "펌프는 세 달마다 점검하고 압력을 기록합니다.": 980,
    "يتم فحص صمام المضخة الحرارية كل ثلاثة أشهر وتسجيل الضغط. ": 940,
    "Η βαλβίδα της αντλίας θερμότητας ελέγχεται κάθε τρεις μήνες. ": 1000,
    "हीट पंप के वाल्व की हर तीन महीने में जाँच की जाती है। ": 660,
    "Van của máy bơm nhiệt được kiểm tra ba tháng một lần. ": 460,
    "Zawór pompy ciepła jest sprawdzany co trzy miesiące, żółć łódź. ": 600,
    "Lämpöpumpun venttiili tarkastetaan kolmen kuukauden välein. ": 420,
    "Die Überprüfung der Wärmepumpe erfolgt alle drei Monate durch das Personal. ": 500,
    "The valve of the heat pump is checked every three months by the team. ": 300,
}


@pytest.mark.parametrize("sentence", MEASURED)
@pytest.mark.parametrize("tokenizer", ["BERT WordPiece", None])
def test_estimate_bounds_the_tokens_of_wordpiece(sentence: str, tokenizer: str | None) -> None:
    text = sentence * 20
    measured = MEASURED[sentence]
    assert measured <= TokenBounds(tokenizer).estimate(text) <= 2.3 * measured


def test_multilingual_tokenizers_have_words_in_every_script() -> None:
    text = "Клапан теплового насоса проверяется каждые три месяца. " * 20
    estimate = round(1.3 * chunking.count(text))
    for tokenizer in ("XLM-R SentencePiece", "Qwen3 BPE", "EuroBERT BPE"):
        assert TokenBounds(tokenizer).estimate(text) == estimate


@pytest.mark.parametrize("sentence", MEASURED)
def test_truncated_text_has_the_estimated_tokens(sentence: str) -> None:
    bounds = TokenBounds("BERT WordPiece")
    text = sentence * 60
    cut = bounds.truncate(text, 240)
    assert text.startswith(cut)
    assert 200 < bounds.estimate(cut) <= 240
