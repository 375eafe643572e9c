"""Remove from an HTML tree what is not its main content: navigation, banners, page furniture.

When in doubt, text is kept: nothing is removed that holds more prose than what would remain.
"""

import re
from typing import Any

from ragctl.loaders.html_tree import body_of, length, remove

MIN_PROSE = 200  # characters outside of links; an element with more may be the article
MAX_BANNER = 1_500  # characters
MIN_MENU_LINKS = 3
MIN_MENU_SHARE = 0.7  # of the text of a menu is in its links
_ROLES = {
    "navigation": "nav",
    "banner": "header",
    "contentinfo": "footer",
    "complementary": "aside",
    "search": "search",
}
_FURNITURE = frozenset(("nav", "header", "footer", "aside", "search"))
_MENU = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|menu|main-?menu|header|breadcrumbs?|side-?bar|pagination|pager"
    r"|skip-?links?|toolbar|footer|social|share)(?:$|[\s_-])",
    re.IGNORECASE,
)
_COOKIE_NAME = re.compile(
    r"cookie|consent|gdpr|onetrust|didomi|usercentrics|cybot|cmp-", re.IGNORECASE
)
_COOKIE_TEXT = re.compile(r"cookie|куки|consent|クッキー|einwillig", re.IGNORECASE)
_CONTENT = ("main", "article", "h1")


def remove_furniture(root: Any) -> None:
    """Remove navigation and banners; beside a main part also headers, footers and asides."""
    for element in _banners(root):
        remove(element)
    mains = [e for e in root.iter("main") if length(e)] or [
        e for e in root.iter() if e.get("role") == "main" and length(e)
    ]
    mains = mains or [e for e in root.iter("article") if length(e)]
    inside = {e for main in mains for e in main.iter()}
    around = {e for main in mains for e in main.iterancestors()}
    chosen: list[Any] = []
    taken: set[Any] = set()
    for element in root.iter():
        if element in taken or element in around or element.getparent() is None:
            continue
        kind = _kind(element)
        menu = kind == "nav" or _is_menu(element)
        if menu or (mains and kind in _FURNITURE and element not in inside):
            chosen.append(element)
            taken.update(element.iter())
    body = body_of(root)
    sizes = {element: _prose(element) for element in chosen}
    rest = _prose(body) - sum(sizes.values())
    if not rest and length(body) <= sum(map(length, chosen)):
        return
    headings = [heading for heading in root.iter("h1") if length(heading)]
    for element in sorted(chosen, key=sizes.__getitem__):
        if sizes[element] > max(MIN_PROSE, rest):
            rest += sizes[element]
            continue
        own = [heading for heading in element.iter("h1") if length(heading)]
        remove(element)
        if mains and len(own) == len(headings):
            element.extend(own)  # the only title of the page


def _kind(element: Any) -> str:
    return _ROLES.get(element.get("role", ""), str(element.tag))


def _prose(element: Any) -> int:
    """Return the number of characters outside of links."""
    return length(element) - sum(length(link) for link in element.iter("a"))


def _is_menu(element: Any) -> bool:
    """Return whether an element is named like a menu, and holds little but links."""
    names = f"{element.get('class', '')} {element.get('id', '')}"
    if element.tag not in ("div", "ul", "ol", "section", "table", "p") or not _MENU.search(names):
        return False
    if any(next(element.iter(tag), None) is not None for tag in _CONTENT):
        return False
    links = [length(link) for link in element.iter("a")]
    return len(links) >= MIN_MENU_LINKS and sum(links) >= MIN_MENU_SHARE * length(element)


def _banners(root: Any) -> list[Any]:
    """Return the elements that ask for consent to cookies: by name, or dialogs with a button."""
    found: list[Any] = []
    taken: set[Any] = set()
    whole = length(body_of(root))
    for element in root.iter("div", "section", "aside", "dialog", "form", "p", "footer"):
        names = " ".join((element.get("class", ""), element.get("id", "")))
        role = element.get("role", "")
        named = _COOKIE_NAME.search(names) is not None
        if element in taken or not (
            named or role in ("dialog", "alertdialog") or element.tag == "dialog"
        ):
            continue
        size = length(element)
        if (
            size <= MAX_BANNER
            and whole > size
            and _COOKIE_TEXT.search("".join(element.itertext()))
            and (named or next(element.iter("button", "input", "a"), None) is not None)
            and all(next(element.iter(tag), None) is None for tag in _CONTENT)
        ):
            found.append(element)
            taken.update(element.iter())
    return found
