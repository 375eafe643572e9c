"""What a collection remembers of how it was made, beside its identity."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ragctl.catalog import Choice
from ragctl.embedding.canary import Canary
from ragctl.embedding.language import BM25_NAMES
from ragctl.embedding.sparse import Sparse, SparseConfig
from ragctl.errors import StoreError
from ragctl.index.report import Report
from ragctl.records import Json
from ragctl.stores.base import Collection


def providers(collection: Collection) -> tuple[Choice, ...]:
    """The providers that made it, in their order."""
    listed = cast(Sequence[Mapping[str, Json]], collection.settings.origin.get("providers") or ())
    return tuple(Choice.from_json(value) for value in listed)


def canary(collection: Collection) -> Canary | None:
    """The vectors by which its model is known again; None for the built-in model.

    Raises StoreError where they cannot be read.
    """
    kept = collection.settings.origin.get("canary")
    if kept is None:
        return None
    try:
        found = Canary.from_json(cast(dict[str, Any], kept))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{collection.name}: its canary vectors cannot be read ({error})"
        ) from None
    if found.documents.shape[1] != collection.settings.dim:
        raise StoreError(f"{collection.name}: its canary vectors have another dimension")
    return found


def merged(wanted: Sequence[Choice], made: Sequence[Choice], remote: bool) -> tuple[Choice, ...]:
    """The providers that a run asks for, with what it leaves out taken from the collection.

    `remote`: the collection is on a server, so that an address taken from it
    may be someone else's; a folder of weights, which may hold code, is not taken.
    """
    own = tuple(_from_afar(choice) for choice in made) if remote else tuple(made)
    if not wanted:
        return own
    result = []
    for choice in wanted:
        known = next((c for c in own if choice.backend in (None, c.backend)), None)
        result.append(choice if known is None else _filled(choice, known))
    return tuple(result)


def _from_afar(choice: Choice) -> Choice:
    return replace(choice, weights=None, remote=choice.base_url is not None)


def _filled(choice: Choice, known: Choice) -> Choice:
    return replace(
        choice,
        backend=known.backend,
        base_url=choice.base_url or known.base_url,
        weights=choice.weights or known.weights,
        remote=known.remote and choice.base_url is None,
    )


def trusted(made: Sequence[Choice]) -> Callable[[Choice], bool]:
    """Whether a choice is one of those that made the collection."""
    known = {(choice.backend, choice.base_url, choice.weights) for choice in made}
    return lambda choice: (choice.backend, choice.base_url, choice.weights) in known


def sparse_of(collection: Collection) -> Sparse:
    """BM25 as the collection's documents are weighed: each under its own language."""
    config = SparseConfig.from_json(collection.settings.sparse)
    return Sparse(config if config.languages else replace(config, languages=tuple(BM25_NAMES)))


def billed(collection: Collection) -> dict[str, int]:
    """Tokens that each provider was sent for this collection so far, by its name.

    At least: a run that was killed could not write down what it sent.
    """
    return dict(cast(Mapping[str, int], collection.settings.notes.get("billed") or {}))


def billed_with(collection: Collection, report: Report) -> Json:
    """The note of `billed` when this run is added; the sums go into the report too."""
    sums = billed(collection)
    for account in report.providers:
        name = str(account["backend"])
        sums[name] = sums.get(name, 0) + cast(int, account["tokens"])
        account["tokens_so_far"] = sums[name]
    return cast(Json, sums)
