"""What a collection remembers of how it was made, beside its identity."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from ragctl.catalog import BackendConfig
from ragctl.collection.settings import Settings
from ragctl.embedding.canary import Canary
from ragctl.errors import StoreError
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.lexical.languages import BM25_NAMES
from ragctl.records import Json


class Described(Protocol):
    """A stored collection: its name and its settings."""

    @property
    def name(self) -> str:
        """The name people use."""

    @property
    def settings(self) -> Settings:
        """What it was made with."""


def backends(collection: Described) -> tuple[BackendConfig, ...]:
    """The backends that made it, in their order."""
    listed = cast(Sequence[Mapping[str, Json]], collection.settings.origin.get("backends") or ())
    return tuple(BackendConfig.from_json(value) for value in listed)


def canary(collection: Described) -> Canary | None:
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


def merged(
    wanted: Sequence[BackendConfig], made: Sequence[BackendConfig], remote: bool
) -> tuple[BackendConfig, ...]:
    """The backends that a run asks for, with what it leaves out taken from the collection.

    `remote`: the collection is on a server, so that an address taken from it
    may be someone else's; a folder of weights, which may hold code, is not taken.
    """
    own = tuple(_from_afar(config) for config in made) if remote else tuple(made)
    if not wanted:
        return own
    result = []
    for config in wanted:
        known = next((c for c in own if config.name in (None, c.name)), None)
        result.append(config if known is None else _filled(config, known))
    return tuple(result)


def _from_afar(config: BackendConfig) -> BackendConfig:
    return replace(config, weights=None, remote=config.base_url is not None)


def _filled(config: BackendConfig, known: BackendConfig) -> BackendConfig:
    return replace(
        config,
        name=known.name,
        base_url=config.base_url or known.base_url,
        weights=config.weights or known.weights,
        remote=known.remote and config.base_url is None,
    )


def trusted(made: Sequence[BackendConfig]) -> Callable[[BackendConfig], bool]:
    """Whether a config is one of those that made the collection."""
    known = {(config.name, config.base_url, config.weights) for config in made}
    return lambda config: (config.name, config.base_url, config.weights) in known


def sparse_of(collection: Described) -> Bm25Encoder:
    """BM25 as the collection's documents are weighed: each under its own language."""
    config = Bm25Config.from_json(collection.settings.sparse)
    return Bm25Encoder(config if config.languages else replace(config, languages=tuple(BM25_NAMES)))


def billed(collection: Described) -> dict[str, int]:
    """Tokens that each backend was sent for this collection so far, by its name.

    At least: a run that was killed could not write down what it sent.
    """
    return dict(cast(Mapping[str, int], collection.settings.notes.get("billed") or {}))


def billed_with(collection: Described, accounts: Sequence[dict[str, Json]]) -> Json:
    """The note of `billed` when this run is added; the sums go into the report too."""
    sums = billed(collection)
    for account in accounts:
        name = str(account["backend"])
        sums[name] = sums.get(name, 0) + cast(int, account["tokens"])
        account["tokens_so_far"] = sums[name]
    return cast(Json, sums)
