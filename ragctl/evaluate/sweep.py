"""Settings tried on one collection with one set of questions, each embedded once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ragctl.embedding import Embedder
from ragctl.errors import UsageError
from ragctl.evaluate import measures
from ragctl.evaluate.compare import Difference, compare
from ragctl.evaluate.cutting import BUILTIN, check_size, questions_at
from ragctl.evaluate.judging import By, Judged, judged
from ragctl.evaluate.measures import Scores
from ragctl.evaluate.questions import Questions
from ragctl.evaluate.run import Asked, Ranked, ask, run
from ragctl.evaluate.setting import Setting
from ragctl.evaluate.temporary import temporary
from ragctl.stores.base import Collection, Store, nobody

ALL = "all"


@dataclass(frozen=True, slots=True)
class Result:
    """One setting. `size`: bytes of a dense vector as it is searched, None where none is.

    `differences`: by measure, from the first setting; None for that one itself.
    """

    setting: Setting
    scores: Scores
    ranked: Ranked
    size: int | None
    differences: "dict[str, Difference] | None" = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`groups`: ids of the questions of each language, and "all"."""

    judged: Judged
    cuts: tuple[int, ...]
    groups: dict[str, tuple[str, ...]]
    asked: Asked
    results: tuple[Result, ...]
    notes: tuple[str, ...]


def evaluate(
    store: Store,
    collection: Collection,
    questions: Questions,
    settings: Sequence[Setting],
    *,
    embedder: Embedder | None,
    by: By | None = None,
    cuts: Sequence[int] = (5, 10),
    told: Callable[[str], None] = nobody,
) -> Evaluation:
    """Try every setting. `embedder` may be None where all are sparse.

    Raises UsageError for a setting that this collection cannot have, before anything is
    embedded; StoreError, BackendError.
    """
    measures.check_extra()
    settings = [_of_collection(setting, collection) for setting in settings]
    for setting in settings:
        _check(setting, collection, embedder)
    known = judged(collection, questions, by)
    told(f"embedding {len(known.questions):,} questions")
    asked = ask(collection, known.questions, embedder)
    shapes = [shape for shape in dict.fromkeys(s.stored for s in settings) if shape != Setting()]
    told(f"filling {len(shapes)} temporary collections" if shapes else "searching")
    ranked = []
    model = embedder.model if embedder is not None else None
    with ExitStack() as stack:
        made: Mapping[Setting, Collection] = {}
        if shapes and model is not None:
            made = stack.enter_context(temporary(store, collection, shapes, model))
        for setting in settings:
            told(f"searching: {setting}")
            dense = asked.dense
            if setting.dim is not None and dense is not None and model is not None:
                texts = [question.text for question in asked.questions]
                dense = questions_at(dense, texts, setting.dim, model)
            place = made.get(setting.stored, collection)
            ranks = measures.depth(cuts)
            ranked.append(run(place, asked, dense, setting, by=known.by, ranks=ranks))
    return Evaluation(
        known,
        tuple(sorted(set(cuts))),
        _groups(known),
        asked,
        tuple(_results(collection, known, cuts, settings, ranked)),
        tuple(_notes(collection, settings)),
    )


def _of_collection(setting: Setting, collection: Collection) -> Setting:
    """The setting, its dimension left out where it is the collection's own."""
    return replace(setting, dim=None) if setting.dim == collection.settings.dim else setting


def _check(setting: Setting, collection: Collection, embedder: Embedder | None) -> None:
    if setting.mode == "sparse":
        return
    if embedder is None:
        raise UsageError(f"{setting}: the dense side needs the model")
    if setting.dim is not None:
        check_size(embedder.model, collection.settings.dim, setting.dim)


def _groups(known: Judged) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for question in known.questions:
        if question.group is not None:
            groups.setdefault(question.group, []).append(question.id)
    found = {name: tuple(groups[name]) for name in sorted(groups)}
    return {**found, ALL: tuple(question.id for question in known.questions)}


def _results(
    collection: Collection,
    known: Judged,
    cuts: Sequence[int],
    settings: Sequence[Setting],
    ranked: Sequence[Ranked],
) -> list[Result]:
    scores = [measures.measure(known.qrels, each.rankings, cuts) for each in ranked]
    apart: dict[str, list[Difference]] = {
        name: compare(scores[0][name], [other[name] for other in scores[1:]])
        for name in measures.names(cuts)
    }
    return [
        Result(
            setting,
            scores[index],
            ranked[index],
            size_of(setting, collection.settings.dim),
            {name: found[index - 1] for name, found in apart.items()} if index else None,
        )
        for index, setting in enumerate(settings)
    ]


def size_of(setting: Setting, dim: int) -> int | None:
    """Bytes of one dense vector as it is searched."""
    return None if setting.mode == "sparse" else 4 * (setting.dim or dim)


def _notes(collection: Collection, settings: Sequence[Setting]) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    if collection.settings.identity["model"] == BUILTIN and any(s.dim for s in settings):
        notes.append(
            "the built-in model's vectors cannot be cut (it hashes words into dimensions): its "
            "texts were embedded anew in this process, which costs nothing"
        )
    return notes
