"""Generated documents for the chunker tests, joined from units of several kinds."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from ragctl.chunking import tokens
from ragctl.records import Document, Heading, Kind


def _random_words(count: int, seed: int, syllables: Sequence[str]) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(syllables, k=generator.randint(1, 3))) for _ in range(count)]


LATIN = _random_words(3000, 1, [a + b for a in "bcdfgklmnprstv" for b in "aeiou"])
CYRILLIC = _random_words(3000, 2, [a + b for a in "бвгдзклмнпрст" for b in "аеиоу"])
DEVANAGARI = _random_words(3000, 3, [a + b for a in "कगचजतदनपबमरलसह" for b in "ािीुेो"])
HAN = [chr(0x4E00 + random.Random(code).randrange(3000)) for code in range(2000)]


def sentence(rng: random.Random, words: Sequence[str] = LATIN, stop: str = ".") -> str:
    chosen = rng.choices(words, k=rng.randint(5, 25))
    chosen[0] = chosen[0].capitalize()
    if len(chosen) > 10:
        chosen[len(chosen) // 2] += ","
    return " ".join(chosen) + stop


def han_sentence(rng: random.Random) -> str:
    return "，".join("".join(rng.choices(HAN, k=rng.randint(5, 20))) for _ in range(2)) + "。"


def paragraph(
    rng: random.Random, longest: int, words: Sequence[str] = LATIN, stop: str = "."
) -> str:
    return " ".join(sentence(rng, words, stop) for _ in range(rng.randint(1, longest)))


def _section(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return "#" * rng.choice([2, 2, 3, 3, 4]) + " " + " ".join(rng.choices(LATIN, k=3))
    return paragraph(rng, 3)


def _function(rng: random.Random) -> str:
    lines = [f"def {rng.choice(LATIN)}_{rng.choice(LATIN)}({rng.choice(LATIN)}):"]
    lines += [
        " " * rng.choice([4, 8]) + f"{rng.choice(LATIN)} = {rng.choice(LATIN)}({rng.random()})"
        for _ in range(rng.randint(1, 6))
    ]
    return "\n".join(lines)


def _row(rng: random.Random) -> str:
    return (
        f"{rng.randint(1, 99999)},{rng.choice(LATIN)} {rng.choice(LATIN)},{rng.random() * 1000:.2f}"
    )


@dataclass(frozen=True)
class DocumentKind:
    """A kind of document: how a unit is generated, and how units are joined."""

    unit: Callable[[random.Random], str]
    separator: str = "\n\n"
    kind: Kind = "text"

    def units(self, count: int, seed: int = 0) -> list[str]:
        generator = random.Random(seed)
        return [self.unit(generator) for _ in range(count)]

    def document(self, units: Sequence[str]) -> Document:
        headings, at = [], 0
        for unit in units:
            if self.kind == "markdown" and unit.startswith("#"):
                level = len(unit) - len(unit.lstrip("#"))
                headings.append(Heading(at, level, unit[level + 1 :]))
            at += len(unit) + len(self.separator)
        text = self.separator.join(units)
        return Document("made", text, self.kind, headings=tuple(headings))


KINDS = {
    "short paragraphs": DocumentKind(lambda rng: paragraph(rng, 2)),
    "one-line paragraphs": DocumentKind(lambda rng: " ".join(rng.choices(LATIN, k=4)) + "."),
    "sections": DocumentKind(_section, kind="markdown"),
    "one paragraph": DocumentKind(sentence, " "),
    "russian": DocumentKind(lambda rng: paragraph(rng, 2, CYRILLIC)),
    "hindi": DocumentKind(lambda rng: sentence(rng, DEVANAGARI, "।")),
    "chinese": DocumentKind(han_sentence),
    "one chinese paragraph": DocumentKind(han_sentence, ""),
    "functions": DocumentKind(_function, "\n\n\n", "code"),
    "rows": DocumentKind(_row, "\n"),
    "table": DocumentKind(
        lambda rng: "| " + _row(rng).replace(",", " | ") + " |", "\n", "markdown"
    ),
    "list": DocumentKind(
        lambda rng: "  " * rng.choice([0, 0, 1]) + "- " + sentence(rng), "\n", "markdown"
    ),
    "words without punctuation": DocumentKind(lambda rng: " ".join(rng.choices(LATIN, k=6)), " "),
}

REAL = {
    "en": """# Returning goods

You may return goods within 30 days of delivery. Please keep the box, e.g. for the courier.
Dr. Meyer's team at the depot checks each parcel; "no questions asked!" is the rule.

## Who pays?

1. We pay when the goods were damaged.
2. You pay in all other cases.
   - Parcels above 20 kg cost more.

| weight | price |
|---|---|
| up to 5 kg | 4.90 |
| up to 20 kg | 9.90 |

```python
def price(weight: float) -> float:
    if weight <= 5:

        return 4.90
    return 9.90
```

Setext heading
--------------

The last paragraph follows it.
""",
    "ru": """# Возврат товара

Товар можно вернуть в течение 30 дней. Сохраните, пожалуйста, коробку: она нужна курьеру.
Склад проверит посылку… «Без лишних вопросов!» — таково правило. А кто платит? Мы.

## Сроки

Деньги приходят за пять рабочих дней. В праздники, т. е. в январе, дольше.
""",
    "zh": """# 退货

您可以在收到货物后三十天内退货。请保留包装，快递员需要它。仓库会检查每个包裹！“不问理由”是我们的原则。谁付运费呢？如果货物损坏，由我们支付；其他情况由您支付。

## 时间

退款将在五个工作日内到账。节假日期间会稍慢一些。
""",
    "de": """# Rückgabe

Sie können die Ware binnen 30 Tagen zurückgeben. Heben Sie bitte den Karton auf,
z. B. für den Boten. Ab dem 3. Mai gilt: Wir zahlen bei Schäden. „Ohne Fragen!“ Das ist die Regel.
""",
    "ja": """# 返品

商品は到着後三十日以内に返品できます。箱は捨てないでください。「質問はしません。」それが決まりです。送料は誰が払いますか？破損の場合は当社が負担します。
""",
    "ar": """# الإرجاع

يمكنك إرجاع البضاعة خلال ثلاثين يوما. احتفظ بالعلبة، فالساعي يحتاج إليها.
من يدفع؟ نحن ندفع إذا كانت البضاعة تالفة.
""",
    "hi": """# वापसी

आप तीस दिनों के भीतर सामान लौटा सकते हैं। कृपया डिब्बा रखें, कूरियर को उसकी ज़रूरत होगी।
कौन भुगतान करता है? सामान टूटा हो तो हम।
""",
}


def markdown(text: str, source: str = "made") -> Document:
    """Return a Markdown document with its `#` headings."""
    headings, at, fenced = [], 0, False
    for line in text.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            level = len(line) - len(line.lstrip("#"))
            headings.append(Heading(at, min(level, 6), line.strip("# \n")))
        at += len(line)
    return Document(source, text, "markdown", headings=tuple(headings))


def record_encoded_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that records the length of each text encoded, cached edges too."""
    lengths: list[int] = []
    encode, count_edge = tokens.encode, tokens.count_edge

    def encoded(text: str) -> tokens.Tokens:
        lengths.append(len(text))
        return encode(text)

    def counted(text: str) -> int:
        lengths.append(len(text))
        return count_edge(text)

    monkeypatch.setattr(tokens, "encode", encoded)
    monkeypatch.setattr(tokens, "count_edge", counted)
    return lengths
