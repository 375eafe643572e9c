"""Will a pipeline work? Its store, and each of its backends alone, tried with a few texts.

Nothing is written and no collection is made. Every backend is asked for one text as a
document and as a query, and where there is something to compare, for the canary texts.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import combinations

from ragctl.catalog import BackendConfig
from ragctl.check.findings import (
    Agreement,
    BackendReport,
    Checked,
    Finding,
    Reply,
    StoreReport,
    failed,
    note,
)
from ragctl.check.judge import agreed, agreement
from ragctl.check.place import Target, look
from ragctl.check.trial import Terms, Trial
from ragctl.embedding import Canary, Options, connect
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.errors import StoreError, UsageError
from ragctl.index.embedder import effective_embedding
from ragctl.pipeline import MODEL, Pipeline

__all__ = ["Agreement", "BackendReport", "Checked", "Finding", "Reply", "StoreReport", "check"]

SECONDS = 20.0


def check(pipeline: Pipeline, *, seconds: float = SECONDS) -> Checked:
    """Try the store and every backend of a pipeline. Its sources are not looked at.

    `seconds`: about how long each of them may take; a model that runs in this
    process may take any time. What fails is a Finding. Raises UsageError for
    what cannot be tried at all, such as a model that nobody knows.
    """
    with closing(look(pipeline, seconds)) as place:
        return _checked(pipeline, place, seconds)


def _checked(pipeline: Pipeline, place: Target, seconds: float) -> Checked:
    if place.failed and pipeline.embedding.model is None:
        place.add(
            note(
                "model",
                "none is named, and the collection that may say which cannot be read: "
                "no backend was asked",
            )
        )
        return Checked(None, None, None, place.report)
    wanted = effective_embedding(pipeline, place.collection)
    model = pipeline.catalog.model(wanted.model or MODEL)
    backends = [
        config.with_default_name(model.backend) for config in wanted.backends or (BackendConfig(),)
    ]
    terms = Terms(
        model=model.for_task(wanted.task),
        dim=model.size(wanted.dim),
        task=wanted.task,
        options=Options(truncate=wanted.truncate, late_chunking=bool(wanted.late_chunking)),
        catalog=pipeline.catalog,
        environ=pipeline.environ,
        canary=None,
        threshold=CANARY_THRESHOLD if wanted.canary is None else wanted.canary,
        several=len(backends) > 1,
        seconds=seconds,
    )
    if _fits(place, terms, backends):
        terms = replace(terms, canary=_canary(place))
    names = _names(backends)
    reports = [
        Trial(terms, name, config).run() for name, config in zip(names, backends, strict=True)
    ]
    return Checked(
        model.name,
        terms.dim,
        terms.task,
        place.report,
        tuple(reports),
        tuple(_pairs(reports, terms.threshold)),
        tuple(_size(terms)),
    )


def _fits(place: Target, terms: Terms, backends: Sequence[BackendConfig]) -> bool:
    """Find whether the collection is of this model. The backend is no part of that."""
    for config in backends:
        try:
            embedder = connect(
                terms.model.name,
                dim=terms.dim,
                task=terms.task,
                backends=[config],
                catalog=terms.catalog,
                environ=terms.environ,
                options=terms.options,
                dry_run=True,
            )
        except UsageError:
            continue  # it is told when its turn comes
        with embedder:
            return place.compare(embedder)
    return False


def _canary(place: Target) -> Canary | None:
    try:
        if place.collection is None:
            return None
        settings = place.collection.settings
        return settings.origin.read_canary(settings.dim)
    except StoreError as error:
        place.add(failed("canary", error))
        return None


def _names(backends: Sequence[BackendConfig]) -> list[str]:
    """Return a short name for each: its backend, numbered where there are several of it."""
    names = [config.name or "" for config in backends]
    return [
        name if names.count(name) == 1 else f"{name} {names[: position + 1].count(name)}"
        for position, name in enumerate(names)
    ]


def _pairs(reports: Sequence[BackendReport], threshold: float) -> Iterator[Agreement]:
    """Compare every two backends that answered the canary texts."""
    for one, other in combinations(reports, 2):
        if one.canary is not None and other.canary is not None:
            cosines = agreement(one.canary, other.canary)
            finding = agreed("canary", other.name, cosines, threshold)
            yield Agreement((one.name, other.name), cosines, finding)


def _size(terms: Terms) -> Iterator[Finding]:
    model, dim = terms.model, terms.dim
    if model.trained and dim not in model.trained:
        trained = ", ".join(map(str, model.trained))
        yield note("dimensions", f"{model.name} was trained at {trained}, not at {dim}")
