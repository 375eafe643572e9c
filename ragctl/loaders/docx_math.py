"""Equations of Word (OMML, ECMA-376, part 1, section 22.1) as text in one line."""

from typing import Any

from ragctl.loaders.docx_xml import HIDDEN_TAGS, M, W

_SUPERSCRIPTS = {"2": "²", "3": "³"}


def equation_text(element: Any) -> str:
    """Return the text of an equation: (a+b)/2, x_i, mc², √(x), ∑_(i=1)^n i."""
    name = str(element.tag).removeprefix(M)
    if name == "t" or element.tag == W + "t":
        return element.text or ""
    if element.tag in HIDDEN_TAGS or name.endswith("Pr"):
        return ""
    write = _WRITERS.get(name)
    return write(element) if write else "".join(equation_text(child) for child in element)


def _part(element: Any, name: str) -> str:
    child = element.find(M + name)
    return "" if child is None else equation_text(child).strip()


def _group(text: str) -> str:
    """Return text in parentheses, unless it is one number or word."""
    return text if text.isalnum() or len(text) < 2 else f"({text})"


def _property(element: Any, name: str, default: str) -> str:
    """Return m:val of a property. An empty value, which means no character, stays empty."""
    for properties in element:
        if str(properties.tag).endswith("Pr"):
            child = properties.find(M + name)
            if child is not None:
                return str(child.get(M + "val", default))
    return default


def _up(text: str) -> str:
    return _SUPERSCRIPTS.get(text, f"^{_group(text)}") if text else ""


def _down(text: str) -> str:
    return f"_{_group(text)}" if text else ""


def _fraction(element: Any) -> str:
    above, below = _part(element, "num"), _part(element, "den")
    if _property(element, "type", "bar") == "noBar":
        return f"{_group(above)} choose {_group(below)}"
    return f"{_group(above)}/{_group(below)}"


def _scripts(element: Any) -> str:
    base = _part(element, "e")
    return _group(base) + _down(_part(element, "sub")) + _up(_part(element, "sup"))


def _before(element: Any) -> str:
    return _down(_part(element, "sub")) + _up(_part(element, "sup")) + _part(element, "e")


def _root(element: Any) -> str:
    degree = _part(element, "deg")
    return f"{'' if degree == '2' else degree}√{_group(_part(element, 'e'))}"


def _operator(element: Any) -> str:
    limits = _down(_part(element, "sub")) + _up(_part(element, "sup"))
    return f"{_property(element, 'chr', '∫')}{limits} {_part(element, 'e')}"


def _delimited(element: Any) -> str:
    parts = [equation_text(each) for each in element.iterfind(M + "e")]
    inside = _property(element, "sepChr", "|").join(parts)
    return _property(element, "begChr", "(") + inside + _property(element, "endChr", ")")


def _function(element: Any) -> str:
    return f"{_part(element, 'fName')} {_part(element, 'e')}"


def _accent(element: Any) -> str:
    return _part(element, "e") + _property(element, "chr", "\u0302")


def _limit_below(element: Any) -> str:
    return _part(element, "e") + _down(_part(element, "lim"))


def _limit_above(element: Any) -> str:
    return _part(element, "e") + _up(_part(element, "lim"))


def _matrix(element: Any) -> str:
    rows = (
        ", ".join(equation_text(cell) for cell in row.iterfind(M + "e"))
        for row in element.iterfind(M + "mr")
    )
    return "; ".join(rows)


def _lines(element: Any) -> str:
    return "; ".join(equation_text(line) for line in element.iterfind(M + "e"))


def _paragraph(element: Any) -> str:
    return "\n".join(equation_text(each) for each in element.iterfind(M + "oMath"))


_WRITERS = {
    "f": _fraction,
    "sSup": _scripts,
    "sSub": _scripts,
    "sSubSup": _scripts,
    "sPre": _before,
    "rad": _root,
    "nary": _operator,
    "d": _delimited,
    "func": _function,
    "acc": _accent,
    "limLow": _limit_below,
    "limUpp": _limit_above,
    "m": _matrix,
    "eqArr": _lines,
    "oMathPara": _paragraph,
}
