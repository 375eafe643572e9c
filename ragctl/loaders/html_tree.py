"""Rewrite an lxml tree of HTML so that its plain text says what the page shows.

Hidden elements and option lists go; ruby, superscripts, subscripts, formulas and numbers of
lists become text.
"""

import re
from typing import Any

from ragctl.loaders.scripts import subscript, superscript

_UNSEEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b")
# Contents of a page that is shown by a script: hidden text that is so much longer than the rest
# is the page itself.
MIN_HIDDEN_PAGE = 500  # characters
MIN_HIDDEN_SHARE = 4  # times the characters that are shown
_NOTE_CLASS = re.compile(r"foot-?note|note-?ref|reference|fnref|citation|cite", re.IGNORECASE)
_NOTE_ROLES = ("doc-noteref",)
_BLOCKS = ("p", "div", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "pre")


def remove(element: Any) -> None:
    """Empty an element. It stays in its place, so that this costs the same on every page."""
    element.clear(keep_tail=True)
    if element.tag == "li":
        element.tag = "span"  # it has no number


def replace(element: Any, text: str) -> None:
    """Put text in the place of what an element holds."""
    for child in list(element):
        element.remove(child)
    element.text = text


def body_of(root: Any) -> Any:
    """Return the body of a page; the root if it has none."""
    return next(root.iter("body"), root)


def length(element: Any) -> int:
    """Return the number of characters of an element that are not blank."""
    return sum(len("".join(text.split())) for text in element.itertext())


def simplify(root: Any) -> None:
    """Rewrite a page as the module says."""
    for element in list(root.iter("script", "style")):
        remove(element)
    _drop_hidden(root)
    for element in list(root.iter("select", "datalist")):
        remove(element)
    for element in list(root.iter("math")):
        replace(element, f" {_formula(element)} ")
    for element in list(root.iter("ruby")):
        _write_ruby(element)
    for element in list(root.iter("sup", "sub")):
        _write_script(element)
    for element in list(root.iter("a")):
        _write_note_link(element)
    for element in root.iter("ol"):
        if "reversed" in element.attrib and not element.get("start"):
            element.set("start", str(sum(child.tag == "li" for child in element)))


def _drop_hidden(root: Any) -> None:
    body = body_of(root)
    hidden = {element for element in body.iter() if _is_hidden(element)}
    outermost = [e for e in hidden if not any(above in hidden for above in e.iterancestors())]
    unseen = sum(map(length, outermost))
    seen = length(body) - unseen
    if not seen or (unseen > MIN_HIDDEN_PAGE and unseen > MIN_HIDDEN_SHARE * seen):
        return
    for element in outermost:
        remove(element)


def _is_hidden(element: Any) -> bool:
    if element.tag in ("html", "body", "head", "main"):
        return False  # shown by a script
    if not (
        element.get("aria-hidden", "").strip().lower() == "true"
        or element.get("hidden", "until-found").strip().lower() != "until-found"
        or _UNSEEN_STYLE.search(element.get("style", "").lower())
    ):
        return False
    return next(element.iter("math"), None) is None  # a formula beside its picture


def _formula(element: Any) -> str:
    """Return the TeX of a formula if the page has it, else its text."""
    for note in element.iter("annotation"):
        if "tex" in note.get("encoding", "") and note.text:
            return " ".join(note.text.split())
    for note in list(element.iter("annotation", "annotation-xml")):
        remove(note)
    for script in list(element.iter("msup", "msub")):
        parts = ["".join(child.itertext()).strip() for child in script]
        if len(parts) == 2:
            write = superscript if script.tag == "msup" else subscript
            for child in list(script):
                script.remove(child)
            script.text = parts[0] + write(parts[0], parts[1])
    for fraction in list(element.iter("mfrac")):
        if len(fraction) == 2:
            fraction[0].tail = "/"
    return " ".join("".join(element.itertext()).split())


def _write_ruby(element: Any) -> None:
    """Write the base text, then its reading in parentheses: 漢字(かんじ)."""
    readings = ["".join(rt.itertext()).strip() for rt in element.iter("rt")]
    for note in list(element.iter("rt", "rp", "rtc")):
        remove(note)
    base = "".join("".join(element.itertext()).split("\n"))
    base = re.sub(r"\s+", "" if not base.isascii() else " ", base).strip()
    reading = "".join(readings)
    replace(element, f"{base}({reading})" if reading else base)


def _text_before(element: Any) -> str:
    previous = element.getprevious()
    if previous is None:
        parent = element.getparent()
        inner = not parent.text and parent.tag in ("a", "span") and parent.getparent() is not None
        return _text_before(parent) if inner else parent.text or ""
    return str(previous.tail or "".join(previous.itertext()))


def _write_script(element: Any) -> None:
    if element.getparent() is None or next(element.iter(*_BLOCKS), None) is not None:
        return
    text = "".join(element.itertext())
    before = _text_before(element)
    if element.tag == "sub":
        replace(element, subscript(before, text))
        return
    names = f"{element.get('class', '')} {element.get('id', '')}"
    links = [*element.iter("a"), *element.iterancestors("a")]
    linked = any(link.get("href", "").startswith("#") for link in links)
    note = linked or _NOTE_CLASS.search(names) is not None
    replace(element, superscript(before, text, note))


def _write_note_link(element: Any) -> None:
    """Set a note's number apart from the word; drop the link back from the note."""
    text = "".join(element.itertext()).strip()
    role = element.get("role", "")
    if role == "doc-backlink" or (text in ("↩", "↩︎", "↑", "^") and element.get("href")):
        remove(element)
    elif text.isdecimal() and (
        role in _NOTE_ROLES or element.get("{http://www.idpf.org/2007/ops}type") == "noteref"
    ):
        replace(element, f"[{text}]")
