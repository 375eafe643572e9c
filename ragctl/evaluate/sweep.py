"""Settings tried on one collection with one set of questions, each embedded once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ragctl.collection.settings import Settings
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
from ragctl.records import ignore
from ragctl.stores.base import Collection, Store

ALL = "all"
_BITS = {
    "none": 32,
    "scalar": 8,
    "binary": 1,
    "binary2": 2,
    "turbo1": 1,
    "turbo2": 2,
    "turbo4": 4,
}  # of a number


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
    told: Callable[[str], None] = ignore,
) -> Evaluation:
    """Try every setting. `embedder` may be None where all are sparse.

    Raises UsageError for a setting that this collection cannot have, before anything is
    embedded; StoreError, BackendError.
    """
    measures.check_extra()
    own = collection.settings
    settings = list(dict.fromkeys(s.beside(own.dim, own.quantization) for s in settings))
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
        tuple(_notes(collection, settings, ranked)),
    )


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
            size_of(setting, collection.settings),
            {name: found[index - 1] for name, found in apart.items()} if index else None,
        )
        for index, setting in enumerate(settings)
    ]


def size_of(setting: Setting, made: Settings) -> int | None:
    """Bytes of one dense vector as it is searched; beside it a quantised one is kept whole."""
    if setting.mode == "sparse":
        return None
    bits = _BITS[setting.quantization or made.quantization or "none"]
    return -(-(setting.dim or made.dim) * bits // 8)


def _notes(
    collection: Collection, settings: Sequence[Setting], ranked: Sequence[Ranked]
) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    if collection.settings.identity.model == BUILTIN and any(s.dim for s in settings):
        notes.append(
            "the built-in model's vectors cannot be cut (it hashes words into dimensions): its "
            "texts were embedded anew in this process, which costs nothing"
        )
    by_setting = dict(zip(settings, ranked, strict=True))
    for setting, found in by_setting.items():
        whole = by_setting.get(replace(setting, quantization=None, rescore=None))
        coarse = setting.quantization not in (None, "none") and setting.rescore is False
        if coarse and whole is not None and found.rankings == whole.rankings:
            notes.append(
                f"{setting}: every ranking is that of whole vectors; the engine quantises "
                "only large segments, so that a collection this small may have none"
            )
    return notes
