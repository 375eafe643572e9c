"""Measure search variants on one collection with one set of questions, embedded once."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ragctl.collection.settings import Settings
from ragctl.embedding import Embedder
from ragctl.errors import UsageError
from ragctl.evaluate import measures
from ragctl.evaluate.compare import Difference, compare
from ragctl.evaluate.judgements import ResolvedJudgements, Unit, resolve_judgements
from ragctl.evaluate.measures import Scores
from ragctl.evaluate.questions import Questions
from ragctl.evaluate.ranking import PreparedQuestions, Ranking, prepare_questions, rank
from ragctl.evaluate.temporary import temporary_collections
from ragctl.evaluate.truncation import BUILTIN, check_dimension, questions_at
from ragctl.evaluate.variant import WHOLE_VECTORS, Variant
from ragctl.progress import Progress
from ragctl.stores.base import Collection, Store

ALL = "all"
"""The group of all questions."""

BITS_PER_COMPONENT = {
    WHOLE_VECTORS: 32,
    "scalar": 8,
    "binary": 1,
    "binary2": 2,
    "turbo1": 1,
    "turbo2": 2,
    "turbo4": 4,
}
"""Bits per component of a vector, by quantisation."""


@dataclass(frozen=True, slots=True)
class Result:
    """The measurements of one variant.

    `vector_bytes`: size of a dense vector as it is searched; None in sparse mode. `differences`:
    from the first variant, by measure; None for the first one itself.
    """

    variant: Variant
    scores: Scores
    ranking: Ranking
    vector_bytes: int | None
    differences: "dict[str, Difference] | None" = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of all variants.

    `cuts`: ranks at which recall is measured. `groups`: question ids by language, and ALL.
    """

    judgements: ResolvedJudgements
    cuts: tuple[int, ...]
    groups: dict[str, tuple[str, ...]]
    prepared: PreparedQuestions
    results: tuple[Result, ...]
    notes: tuple[str, ...]


def evaluate(
    store: Store,
    collection: Collection,
    questions: Questions,
    variants: Sequence[Variant],
    *,
    embedder: Embedder | None,
    unit: Unit | None = None,
    cuts: Sequence[int] = (5, 10),
    progress: Progress | None = None,
) -> Evaluation:
    """Measure every variant. `embedder` may be None if all are sparse.

    Raises UsageError for a variant that this collection cannot have, before anything is embedded;
    StoreError, BackendError.
    """
    measures.check_extra()
    progress = progress or Progress()
    progress.begin("read")
    own = collection.settings
    variants = list(dict.fromkeys(v.relative_to(own.dim, own.quantization) for v in variants))
    for variant in variants:
        _check(variant, collection, embedder)
    judgements = resolve_judgements(collection, questions, unit)
    asked = len(judgements.questions)
    progress.begin("embed", "question", asked)
    prepared = prepare_questions(collection, judgements.questions, embedder, progress)
    forms = [form for form in dict.fromkeys(v.stored_form for v in variants) if form != Variant()]
    rankings = []
    model = embedder.model if embedder is not None else None
    with ExitStack() as stack:
        temporary: Mapping[Variant, Collection] = {}
        if forms and model is not None:
            progress.begin("fill", "point", collection.count())
            temporary = stack.enter_context(
                temporary_collections(store, collection, forms, model, progress)
            )
        progress.begin("search", "question", asked * len(variants))
        for variant in variants:
            dense = prepared.dense
            if variant.dim is not None and dense is not None and model is not None:
                texts = [question.text for question in prepared.questions]
                dense = questions_at(dense, texts, variant.dim, model)
            searched = temporary.get(variant.stored_form, collection)
            depth = measures.depth(cuts)
            rankings.append(
                rank(
                    searched,
                    prepared,
                    dense,
                    variant,
                    unit=judgements.unit,
                    depth=depth,
                    progress=progress,
                )
            )
    return Evaluation(
        judgements,
        tuple(sorted(set(cuts))),
        _groups(judgements),
        prepared,
        tuple(_results(collection, judgements, cuts, variants, rankings)),
        tuple(_notes(collection, variants, rankings)),
    )


def _check(variant: Variant, collection: Collection, embedder: Embedder | None) -> None:
    """Raise UsageError for a variant that this collection cannot have."""
    if variant.mode == "sparse":
        return
    if embedder is None:
        raise UsageError(f"{variant}: dense search needs the model")
    if variant.dim is not None:
        check_dimension(embedder.model, collection.settings.dim, variant.dim)


def _groups(judgements: ResolvedJudgements) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for question in judgements.questions:
        if question.group is not None:
            groups.setdefault(question.group, []).append(question.id)
    by_name = {name: tuple(groups[name]) for name in sorted(groups)}
    return {**by_name, ALL: tuple(question.id for question in judgements.questions)}


def _results(
    collection: Collection,
    judgements: ResolvedJudgements,
    cuts: Sequence[int],
    variants: Sequence[Variant],
    rankings: Sequence[Ranking],
) -> list[Result]:
    scores = [measures.measure(judgements.qrels, each.units, cuts) for each in rankings]
    differences: dict[str, list[Difference]] = {
        name: compare(scores[0][name], [other[name] for other in scores[1:]])
        for name in measures.names(cuts)
    }
    return [
        Result(
            variant,
            scores[index],
            rankings[index],
            vector_bytes(variant, collection.settings),
            {name: each[index - 1] for name, each in differences.items()} if index else None,
        )
        for index, variant in enumerate(variants)
    ]


def vector_bytes(variant: Variant, settings: Settings) -> int | None:
    """Return the size of a dense vector as it is searched, in bytes; None in sparse mode.

    A quantised vector is stored in addition to the whole one.
    """
    if variant.mode == "sparse":
        return None
    bits = BITS_PER_COMPONENT[variant.quantization or settings.quantization or WHOLE_VECTORS]
    return -(-(variant.dim or settings.dim) * bits // 8)


def _notes(
    collection: Collection, variants: Sequence[Variant], rankings: Sequence[Ranking]
) -> list[str]:
    """Return what a reader of the figures must know."""
    notes = []
    if collection.settings.identity.model == BUILTIN and any(v.dim for v in variants):
        notes.append(
            "the built-in model's vectors cannot be cut (it hashes words into dimensions): its "
            "texts were embedded again in this process, at no cost"
        )
    by_variant = dict(zip(variants, rankings, strict=True))
    for variant, ranking in by_variant.items():
        whole = by_variant.get(variant.changed(quantization=None, rescore=None))
        coarse = variant.quantization not in (None, WHOLE_VECTORS)
        coarse = coarse and variant.options.rescore is False
        if coarse and whole is not None and ranking.units == whole.units:
            notes.append(
                f"{variant}: every ranking equals that of whole vectors; the engine quantises only "
                "large segments, so a collection this small may have no quantised vectors"
            )
    return notes
