"""Numbers of list items as Word and HTML show them: 1, a, iv, first, А."""

from collections.abc import Callable

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
    *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_MAX_ROMAN = 4_999
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_RUSSIAN = "абвгдежзиклмнопрстуфхцчшщэюя"  # without й, ъ, ы, ь: as Word numbers
_GREEK = "αβγδεζηθικλμνξοπρστυφχψω"
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS = (
    *("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
)
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_CHINESE = "〇一二三四五六七八九"


def roman(number: int) -> str:
    """Return a number in lower-case Roman numerals; in digits if it has none."""
    if not 0 < number <= _MAX_ROMAN:
        return str(number)
    text = ""
    for value, letters in _ROMAN:
        text += letters * (number // value)
        number %= value
    return text


def letters(number: int) -> str:
    """Return a … z, aa, ab … as HTML and spreadsheets count; digits below 1."""
    text = ""
    rest = number
    while rest > 0:
        rest, place = divmod(rest - 1, len(_LATIN))
        text = _LATIN[place] + text
    return text or str(number)


def numeral(number: int, form: str) -> str:
    """Return a number in a format of Word (w:numFmt); in digits if the format is not known."""
    if form.startswith("upper"):
        return numeral(number, f"lower{form[5:]}").upper()
    write = _FORMS.get(form)
    return write(number) if write and number > 0 else str(number)


def _repeated(alphabet: str) -> Callable[[int], str]:
    """Return a … z, aa, bb …: as Word counts with letters."""

    def write(number: int) -> str:
        times, place = divmod(number - 1, len(alphabet))
        return alphabet[place] * min(times + 1, 20)

    return write


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _cardinal_text(number: int) -> str:
    if number < len(_ONES):
        return _ONES[number]
    if number >= 100:
        return str(number)
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def _ordinal_text(number: int) -> str:
    if number >= 100:
        return _ordinal(number)
    head, sep, last = _cardinal_text(number).rpartition("-")
    changed = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return head + sep + _ORDINALS.get(last, changed)


def _chinese(number: int) -> str:
    if number >= 100:
        return "".join(_CHINESE[int(digit)] for digit in str(number))
    tens, ones = divmod(number, 10)
    head = "" if not tens else "十" if tens == 1 else f"{_CHINESE[tens]}十"
    return head + (_CHINESE[ones] if ones else "")


_FORMS: dict[str, Callable[[int], str]] = {
    "lowerLetter": _repeated(_LATIN),
    "lowerRoman": roman,
    "russianLower": _repeated(_RUSSIAN),
    "russianUpper": lambda number: _repeated(_RUSSIAN)(number).upper(),
    "decimalZero": lambda number: f"{number:02}",
    "ordinal": _ordinal,
    "cardinalText": lambda number: _cardinal_text(number).capitalize(),
    "ordinalText": lambda number: _ordinal_text(number).capitalize(),
    "numberInDash": lambda number: f"- {number} -",
    "chineseCounting": _chinese,
    "chineseCountingThousand": _chinese,
    "taiwaneseCounting": _chinese,
    "japaneseCounting": _chinese,
    "lowerGreek": _repeated(_GREEK),
}
