"""What `ragctl init` shows of the folder: formats, languages, tokens, prices, a suggestion."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.cli.progress import ProgressBar
from ragctl.errors import RagctlError
from ragctl.index.survey import Survey, survey
from ragctl.pipeline.suggestion import Offer, Suggestion, offers, suggest
from ragctl.text import counted, one_line, readable_size

if TYPE_CHECKING:
    from ragctl.catalog import Catalog
    from ragctl.pipeline import Source

MAX_SHOWN = 6  # formats, languages and suffixes in one line
MAX_SHOWN_UNREADABLE = 3  # files, each with the reason
MIN_LANGUAGE_SHARE = 0.05  # of the sample, for a language that a model must cover
UNDETERMINED = "und"


def show_survey(
    sources: "Sequence[Source]",
    catalog: "Catalog",
    environ: Mapping[str, str],
    budget: float | None,
) -> Suggestion | None:
    """Print what is in the sources and what models cost; return the suggestion.

    None if the folder has nothing to read, or cannot be read, which is a warning.
    """
    with ProgressBar() as progress:
        try:
            found = survey(sources, progress)
        except RagctlError as error:
            console.warn(f"the documents were not examined: {error}", event="survey")
            return None
    for label, text in _rows(found):
        console.say(f"{label:11}{one_line(text)}", indent=11)
    if not found.files:
        return None
    rows = offers(catalog, found.tokens, _languages(found), environ)
    console.say("")
    console.table([("model", "$/M", "total", "API key"), *map(_row, rows)])
    console.say("")
    console.say("$/M: US dollars per million tokens; total: for these documents")
    suggestion = suggest(rows, budget or 0.0)
    offer = suggestion.offer
    place = "" if offer.key is None else f" at {offer.backend}"
    console.say(f"suggested: {offer.model}{place} ({suggestion.reason})")
    if budget is None:
        console.say("--budget DOLLARS suggests a hosted model; ragctl eval measures what it finds")
    return suggestion


def _rows(found: Survey) -> Iterator[tuple[str, str]]:
    total = sum(found.files.values())
    more = "" if found.complete else " at least: the folder is too large to list it all now"
    yield "documents", f"{counted(total, 'file')}, {readable_size(sum(found.bytes.values()))}{more}"
    if found.unread:
        count = sum(found.unread.values())
        yield "left out", f"{counted(count, 'file')} of other kinds: {_listed(found.unread)}"
    if not total:
        return
    yield "formats", _listed(found.files)
    if found.languages:
        known = f"in a sample of {counted(found.sampled, 'file')}"
        yield "languages", f"{_listed(found.languages)} ({known})"
    if found.failed:
        yield "unreadable", f"{counted(len(found.failed), 'file')} of the sample"
        for source, reason in [*found.failed.items()][:MAX_SHOWN_UNREADABLE]:
            yield "", f"{source}: {reason}"
        if len(found.failed) > MAX_SHOWN_UNREADABLE:
            yield "", f"… and {len(found.failed) - MAX_SHOWN_UNREADABLE} more"
        what = "it" if len(found.failed) == 1 else "them"
        yield "", f"correct {what}, or add {what} to exclude in the pipeline file"
    how = "estimated from the sample" if found.ratios else "estimated from their size"
    yield "tokens", f"about {_rounded(found.tokens):,} ({how})"


def _listed(counts: Mapping[str, int]) -> str:
    """Return the largest counts as text: "markdown 12, pdf 3 …"."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    more = " …" if len(rows) > MAX_SHOWN else ""
    return ", ".join(f"{name} {count:,}" for name, count in rows[:MAX_SHOWN]) + more


def _languages(found: Survey) -> list[str]:
    least = MIN_LANGUAGE_SHARE * sum(found.languages.values())
    return [code for code, n in found.languages.items() if n >= least and code != UNDETERMINED]


def _row(offer: Offer) -> tuple[str, str, str, str]:
    key = "none" if offer.key is None else "set" if offer.has_key else offer.key
    languages = "" if offer.covers else "; lacks languages"
    return offer.model, f"{offer.price:g}", dollars(offer.cost), key + languages


def dollars(cost: float) -> str:
    """Return a price for people: "0", "<0.01" or "1.20"."""
    if not cost:
        return "0"
    return f"{cost:,.2f}" if cost >= 0.01 else "<0.01"


def _rounded(number: int) -> int:
    """Return a number with two significant digits: an estimate is no more exact."""
    return int(float(f"{number:.2g}"))
