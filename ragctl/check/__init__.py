"""Test a pipeline's store, and each of its backends on its own, with a few texts.

Nothing is written and no collection is created. Every backend embeds one text as a document
and as a query and, if there is something to compare with, the canary texts.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations

from ragctl.catalog import BackendConfig
from ragctl.check import assess
from ragctl.check.certify.certification import (
    Certification,
    ReferenceTrial,
    collection_reference,
)
from ragctl.check.certify.reference import Reference
from ragctl.check.findings import (
    Agreement,
    BackendReport,
    CheckReport,
    Finding,
    Reply,
    StoreReport,
    failed,
    note,
)
from ragctl.check.target import Target, open_target
from ragctl.check.trial import Trial, TrialSettings
from ragctl.embedding import Canary, Options, connect
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.errors import StoreError, UsageError
from ragctl.index.embedder import effective_embedding
from ragctl.pipeline import DEFAULT_MODEL, Pipeline
from ragctl.records import Notify, ignore

__all__ = [
    "Agreement",
    "BackendReport",
    "Certify",
    "CheckReport",
    "Finding",
    "Reply",
    "StoreReport",
    "check_pipeline",
]

DEFAULT_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Certify:
    """That backends are certified. `against`: the backend to compare them with.

    `notify` gets a line about each backend before anything is sent.
    """

    against: BackendConfig | None = None
    notify: Notify = ignore


def check_pipeline(
    pipeline: Pipeline,
    *,
    seconds: float = DEFAULT_TIMEOUT_SECONDS,
    certify: Certify | None = None,
) -> CheckReport:
    """Test the store and every backend of a pipeline, but not its sources.

    With `certify` every property of the backends is tested, with at most twelve texts each.

    `seconds` is the approximate time limit for each of them; loading a model into this
    process is not limited. A failure is a Finding. Raises UsageError for what cannot be
    tested at all, such as an unknown model.
    """
    with closing(open_target(pipeline, seconds)) as target:
        return _check(pipeline, target, seconds, certify)


def _check(
    pipeline: Pipeline, target: Target, seconds: float, certify: Certify | None
) -> CheckReport:
    if target.failed and pipeline.embedding.model is None:
        target.add(
            note(
                "model",
                "no model is named, and the collection that may name one cannot be read: "
                "no backend was tested",
            )
        )
        return CheckReport(None, None, None, target.report)
    embedding = effective_embedding(pipeline, target.collection)
    model = pipeline.catalog.model(embedding.model or DEFAULT_MODEL)
    backends = [
        config.with_default_name(model.backend)
        for config in embedding.backends or (BackendConfig(),)
    ]
    settings = TrialSettings(
        model=model.for_task(embedding.task),
        dim=model.size(embedding.dim),
        task=embedding.task,
        options=Options(truncate=embedding.truncate, late_chunking=bool(embedding.late_chunking)),
        catalog=pipeline.catalog,
        environ=pipeline.environ,
        canary=None,
        threshold=CANARY_THRESHOLD if embedding.canary is None else embedding.canary,
        compare=len(backends) > 1,
        seconds=seconds,
    )
    if _fits(target, settings, backends):
        made = None if target.collection is None else target.collection.settings.identity.model
        settings = replace(settings, canary=_canary(target), reference=made)
    names = _names(backends)
    if certify is None:
        reports = [
            Trial(settings, name, config).run()
            for name, config in zip(names, backends, strict=True)
        ]
    else:
        reports = _certify(pipeline, target, settings, certify, names, backends)
    return CheckReport(
        model.name,
        settings.dim,
        settings.task,
        target.report,
        tuple(reports),
        tuple(_pairs(reports, settings.threshold)) if certify is None else (),
        tuple(_size(settings)),
    )


def _certify(
    pipeline: Pipeline,
    target: Target,
    settings: TrialSettings,
    certify: Certify,
    names: Sequence[str],
    backends: Sequence[BackendConfig],
) -> list[BackendReport]:
    """Certify each backend; without another reference, the first one is that of the others."""
    references = []
    reports = []
    if settings.canary is not None:
        references.append(collection_reference(settings.canary))
    if certify.against is not None:
        against = certify.against.with_default_name(settings.model.backend)
        trial = ReferenceTrial(settings, f"against {against.name}", against)
        reports.append(trial.run())
        if trial.reference is not None:
            references.append(trial.reference)
    chunk_size = pipeline.chunk_size
    if chunk_size is None and target.collection is not None:
        chunk_size = target.collection.settings.origin.chunk_size
    for name, config in zip(names, backends, strict=True):
        known = tuple(references)
        report = Certification(settings, name, config, known, chunk_size, certify.notify).run()
        reports.append(report)
        if not references and report.canary is not None:
            references.append(Reference(name, report.canary))
    return reports


def _fits(target: Target, settings: TrialSettings, backends: Sequence[BackendConfig]) -> bool:
    """Return whether the collection has this model's identity, whatever the backend."""
    for config in backends:
        try:
            embedder = connect(
                settings.model.name,
                dim=settings.dim,
                task=settings.task,
                backends=[config],
                catalog=settings.catalog,
                environ=settings.environ,
                options=settings.options,
                dry_run=True,
            )
        except UsageError:
            continue  # becomes a finding when this backend is tested
        with embedder:
            return target.compare(embedder)
    return False


def _canary(target: Target) -> Canary | None:
    """Return the canary stored with the collection, None if there is none."""
    try:
        if target.collection is None:
            return None
        stored = target.collection.settings
        return stored.origin.read_canary(stored.dim)
    except StoreError as error:
        target.add(failed("canary", error))
        return None


def _names(backends: Sequence[BackendConfig]) -> list[str]:
    """Return a short name for each: its backend, numbered if it occurs more than once."""
    names = [config.name or "" for config in backends]
    return [
        name if names.count(name) == 1 else f"{name} {names[: position + 1].count(name)}"
        for position, name in enumerate(names)
    ]


def _pairs(reports: Sequence[BackendReport], threshold: float) -> Iterator[Agreement]:
    """Compare every two backends that answered the canary texts."""
    for one, other in combinations(reports, 2):
        if one.canary is not None and other.canary is not None:
            cosines = assess.min_cosines(one.canary, other.canary)
            finding = assess.agreement("canary", other.name, cosines, threshold)
            yield Agreement((one.name, other.name), cosines, finding)


def _size(settings: TrialSettings) -> Iterator[Finding]:
    """Yield a note if the model was not trained at this dimension."""
    model, dim = settings.model, settings.dim
    if model.trained and dim not in model.trained:
        trained = ", ".join(map(str, model.trained))
        yield note("dimensions", f"{model.name} was trained at {trained}, not at {dim}")
