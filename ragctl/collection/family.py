"""Families: models that share one vector space by design, and so may use one collection.

The model that made a collection is the reference: its vectors of the canary texts stay the ones
that every other member has to come close to. Any member may embed documents or questions.
"""

from collections.abc import Iterable
from dataclasses import replace

from ragctl.catalog import BackendConfig, Catalog, Model
from ragctl.collection.notes import Notes
from ragctl.collection.settings import Settings
from ragctl.errors import IdentityMismatch
from ragctl.records import Identity


def is_other_member(identity: Identity, model: Model) -> bool:
    """Return whether `model` is another member of the family of a collection's model."""
    return (
        model.name != identity.model
        and identity.family is not None
        and model.family == identity.family
    )


def other_members(identity: Identity, catalog: Catalog) -> list[str]:
    """Return the other models of the family of a collection's model."""
    return [each.name for each in catalog.models.values() if is_other_member(identity, each)]


def check_member(name: str, identity: Identity, model: Model, catalog: Catalog) -> None:
    """Raise IdentityMismatch unless `model` may embed for a collection of this identity.

    `name`: of the collection, for the message.
    """
    if model.name == identity.model or is_other_member(identity, model):
        return
    family = [
        each.name
        for each in catalog.models.values()
        if each.name == identity.model or is_other_member(identity, each)
    ]
    others = ", ".join(family) if len(family) > 1 else f"{identity.model} alone"
    raise IdentityMismatch(
        f"the vectors of {model.name} cannot be compared with those of collection {name!r}, which "
        f"{identity.model} made; these models share its vector space: {others}"
    )


def member_backends(
    configs: Iterable[BackendConfig], catalog: Catalog, model: Model
) -> tuple[BackendConfig, ...]:
    """Return those backends of a model that serve another member too, without its weights."""
    serving = catalog.serving(model.name)
    return tuple(
        replace(config, weights=None, price=None) for config in configs if config.name in serving
    )


def writers(settings: Settings, notes: Notes) -> list[str]:
    """Return the models that wrote vectors into a collection, the one that made it first."""
    model = settings.identity.model
    return [model, *(each for each in notes.get("members", ()) if each != model)]
