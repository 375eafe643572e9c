"""Assessment of a backend's answers: turns figures into Findings."""

from collections.abc import Iterator

from ragctl.catalog import Backend, Catalog, Instruction, Model
from ragctl.check.findings import Finding, Reply, failed, good, note
from ragctl.embedding import Canary
from ragctl.embedding.base import Vectors
from ragctl.errors import BackendError, IdentityMismatch
from ragctl.text import counted

MIN_SAME_COSINE = 0.999  # between two answers to the same request, on any hardware
MAX_DIFFERENT_COSINE = 0.9999  # instructions move a vector well below this
UNIT_NORM_TOLERANCE = 0.001
PADDING_ZEROS = 8  # this many trailing zeros are not a coincidence, even in 8 bits


def min_cosines(one: Canary, other: Canary) -> tuple[float, float]:
    """Return the smallest cosines between two canaries: of documents, of queries."""
    return one.agreement("document", other.documents), one.agreement("query", other.query)


def agreement(what: str, other: str, cosines: tuple[float, float], threshold: float) -> Finding:
    """Return whether vectors with these canary cosines to those of `other` are compatible."""
    figures = f"cosine {cosines[0]:.4f} for documents, {cosines[1]:.4f} for queries"
    if min(cosines) >= threshold:
        return good(what, f"the same vectors as {other}: {figures}")
    return failed(
        what,
        IdentityMismatch(
            f"different vectors than {other}: {figures}, at least {threshold:g} is required. One "
            "of them runs another model, or runs it with other settings"
        ),
    )


def membership(
    model: Model,
    collection: Canary,
    own: Canary,
    cosines: tuple[float, float],
    threshold: float,
) -> Finding:
    """Return whether another member of a family shares the vector space of the collection.

    `threshold` applies to a model whose row has no `family_cosine`.
    """
    least = threshold if model.family_cosine is None else model.family_cosine
    distinct = collection.is_distinct("document", own.documents)
    distinct = distinct and collection.is_distinct("query", own.query)
    figures = f"cosine {cosines[0]:.4f} for documents, {cosines[1]:.4f} for queries"
    if distinct and min(cosines) >= least:
        return good("canary", f"{model.name} shares the collection's vector space: {figures}")
    nearest = "" if distinct else "; a text is not nearest to its own vector"
    return failed(
        "canary",
        IdentityMismatch(
            f"{model.name} does not share the collection's vector space: {figures}, at least "
            f"{least:g} is required (family_cosine){nearest}"
        ),
    )


def catalog_notes(row: Backend, model: Model, catalog: Catalog) -> Iterator[Finding]:
    """Yield what the catalogue warns of, or does not know, about this model at this backend."""
    measured = "texts longer than the context: they are measured here before they are sent"
    if not row.is_builtin and row.truncation == "unknown":
        yield note("long texts", f"it is unknown what {row.name} does with {measured}")
    if row.truncation == "cuts":
        yield note("long texts", f"{row.name} silently truncates {measured}")
    if model.non_commercial and not row.licensed:
        names = [each.name for each in catalog.backends.values() if each.licensed]
        licensed = " or ".join(name for name in names if name in catalog.serving(model.name))
        exception = f", except by customers of {licensed}" if licensed else ""
        yield note("licence", f"{model.licence}: no commercial use of the weights{exception}")
    if not row.in_process and row.models[model.name].price is None:
        yield note("price", "unknown: a run cannot report its cost; set price in the row")


def ends_in_zeros(vectors: Vectors) -> bool:
    """Return whether all vectors end in zeros, as padded shorter ones do."""
    return vectors.shape[-1] > PADDING_ZEROS and not vectors[..., -PADDING_ZEROS:].any()


def zero_padding(length: int) -> Finding:
    """Return the failure for vectors that are padded with zeros to `length`."""
    return failed(
        "dimensions",
        BackendError(
            f"the vectors end in zeros: they are shorter than {length} and padded. Request "
            "fewer dimensions, or check which model the backend has under this name"
        ),
    )


def cut(cosine: float, dim: int, model: Model) -> Finding:
    """Return whether the host truncates vectors as we do, given the cosine of the two."""
    summary = f"{dim} of {model.dim}, cut by the host"
    if cosine >= MIN_SAME_COSINE:
        return good("dimensions", f"{summary} as it would be cut here (cosine {cosine:.4f})")
    if model.layer_norm:
        return note(
            "dimensions",
            f"{summary} differently than here (cosine {cosine:.4f}): without the layer norm that "
            f"{model.name} was trained with; other backends will not agree",
        )
    return failed(
        "dimensions",
        BackendError(
            f"not honoured: the {dim} numbers are not the first of the {model.dim} (cosine "
            f"{cosine:.4f}); dims = [] in the backend's row makes ragctl cut the whole vector"
        ),
    )


def sides(cosine: float, model: Model, row: Backend) -> Finding:
    """Return whether one text as document and as query has the expected vectors.

    They must differ if the model has different instructions for the two sides.
    """
    document, query = (sent_instruction(each, row) for each in (model.document, model.query))
    text = f"one text as document and as query (cosine {cosine:.4f})"
    if document == query:
        if cosine >= MIN_SAME_COSINE:
            return good("sides", f"{text}: the same, as expected of {model.name}")
        return failed(
            "sides",
            BackendError(
                f"{text} differs, but {model.name} has no instructions: the host adds its own"
            ),
        )
    if cosine < MAX_DIFFERENT_COSINE:
        return good("sides", f"{text} differs, as expected of {model.name}")
    word = "task" if row.traits.task != "none" else "prompt"
    return failed(
        "sides",
        BackendError(
            f"{text}: the same, so the host ignores the {word} of {model.name}. A search would "
            "find less: use another backend, or the model's right name or version there"
        ),
    )


def sent_instruction(instruction: Instruction, row: Backend) -> object:
    """Return the part of an instruction that this backend is sent."""
    if row.traits.task != "none":
        return instruction.task
    if row.traits.library:
        return instruction.library, instruction.prompt
    return instruction.prompt


def timing(document: Reply, query: Reply, row: Backend) -> Finding:
    """Return the time of both answers, and the tokens billed."""
    first = "loading" if row.in_process else "connecting"
    text = f"document {document.milliseconds:.0f} ms with {first}, "
    text += f"query {query.milliseconds:.0f} ms"
    if row.in_process:
        return good("answers", text)
    if not (document.tokens or query.tokens):
        return good("answers", f"{text}; tokens billed unknown")
    return good(
        "answers", f"{text}; {document.tokens:,} and {counted(query.tokens, 'token')} billed"
    )


def dimensions(length: int, dim: int, model: Model, row: Backend, asked: bool) -> Finding:
    """Return who cut the vectors. `asked`: the host was asked for `dim` dimensions."""
    if length > dim:
        if asked and not row.in_process and not model.layer_norm:
            return note(
                "dimensions",
                f"not honoured by the host: {length} instead of {dim}. They are cut here, which "
                "gives the same vector but transfers more bytes",
            )
        return good("dimensions", f"{dim} of {length}, cut here")
    if dim == model.dim:
        return good("dimensions", f"{dim}, the model's own")
    return good("dimensions", f"{dim}, as requested")


def norm(document: Reply, query: Reply) -> Finding:
    """Return whether the vectors had unit length as received."""
    norms = (document.norm, query.norm)
    if all(abs(norm - 1) <= UNIT_NORM_TOLERANCE for norm in norms):
        return good("norm", f"{norms[0]:.4f} and {norms[1]:.4f}")
    return note("norm", f"{norms[0]:.4g} and {norms[1]:.4g} as received; normalised here")
