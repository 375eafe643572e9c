"""What answers mean: figures in, Findings out."""

from collections.abc import Iterator

from ragctl.catalog import Backend, Catalog, Instruction, Model
from ragctl.check.findings import Finding, Reply, failed, good, note
from ragctl.embedding import Canary
from ragctl.embedding.base import Vectors
from ragctl.errors import BackendError, IdentityMismatch

_SAME = 0.999  # two answers to the same question are at least so near, on any hardware
_DIFFERENT = 0.9999  # a model that is told the side of a text stays clearly below
_UNIT = 0.001  # how far from 1 a norm may be that is 1
_ZEROS = 8  # in a row at a vector's end: no chance, even with numbers of eight bits


def agreement(one: Canary, other: Canary) -> tuple[float, float]:
    """Return the least cosines between two canaries: documents, queries."""
    return one.agreement("document", other.documents), one.agreement("query", other.query)


def agreed(what: str, whose: str, cosines: tuple[float, float], threshold: float) -> Finding:
    """Return whether canaries with these cosines to those of `whose` may meet."""
    figures = f"cosine {cosines[0]:.4f} for documents, {cosines[1]:.4f} for queries"
    if min(cosines) >= threshold:
        return good(what, f"the same vectors as {whose}: {figures}")
    return failed(
        what,
        IdentityMismatch(
            f"other vectors than {whose}: {figures}, at least {threshold:g} is asked. One of them "
            "serves another model, or the same in another way"
        ),
    )


def doubts(row: Backend, model: Model, catalog: Catalog) -> Iterator[Finding]:
    """Yield what the catalogue does not know, or warns of, where this backend runs the model."""
    long = "a text longer than the context: texts are measured here before they are sent"
    if not row.is_builtin and row.truncation == "unknown":
        yield note("long texts", f"it is not known what {row.name} does with {long}")
    if row.truncation == "cuts":
        yield note("long texts", f"{row.name} cuts without a word {long}")
    if model.non_commercial and not row.licensed:
        names = [each.name for each in catalog.backends.values() if each.licensed]
        licensed = " or ".join(name for name in names if name in catalog.serving(model.name))
        but = f"; customers of {licensed} may" if licensed else ""
        yield note("licence", f"{model.licence}: no commercial use of the weights{but}")
    if not row.in_process and row.models[model.name].price is None:
        yield note("price", "not known: a run cannot say what it costs; price in the row does")


def padded(vectors: Vectors) -> bool:
    """Whether all of these end in zeros, as shorter ones do that were filled up."""
    return vectors.shape[-1] > _ZEROS and not vectors[..., -_ZEROS:].any()


def filled_up(length: int) -> Finding:
    return failed(
        "dimensions",
        BackendError(
            f"the vectors end in zeros: they are shorter than {length} and filled up. Ask for "
            "fewer dimensions, or see which model the backend has under this name"
        ),
    )


def cut(cosine: float, dim: int, model: Model) -> Finding:
    """Return whether a host cuts as it is done here; the cosine is that of both cuts."""
    said = f"{dim} of {model.dim}, cut by the host"
    if cosine >= _SAME:
        return good("dimensions", f"{said} as it would be cut here (cosine {cosine:.4f})")
    if model.layer_norm:
        return note(
            "dimensions",
            f"{said} otherwise than here (cosine {cosine:.4f}): it leaves out the layer norm that "
            f"{model.name} was trained with; other backends will not agree",
        )
    return failed(
        "dimensions",
        BackendError(
            f"not honoured: the {dim} numbers are not the first of the {model.dim} (cosine "
            f"{cosine:.4f}); dims = [] in the backend's row has the whole vector cut here"
        ),
    )


def sides(cosine: float, model: Model, row: Backend) -> Finding:
    """Return whether one text as document and query came back as it should: apart, or the same."""
    one, other = (_told(side, row) for side in (model.document, model.query))
    text = f"one text as document and as query (cosine {cosine:.4f})"
    if one == other:
        if cosine >= _SAME:
            return good("sides", f"{text}: the same, as {model.name} has it")
        return failed(
            "sides",
            BackendError(f"{text} differs, and {model.name} has no sides: the host adds its own"),
        )
    if cosine < _DIFFERENT:
        return good("sides", f"{text} differs, as {model.name} has it")
    word = "task" if row.traits.task != "none" else "prompt"
    return failed(
        "sides",
        BackendError(
            f"{text}: the same, so the host ignores the {word} of {model.name}. A search would "
            "find less: use another backend, or the model's right name or version there"
        ),
    )


def _told(side: Instruction, row: Backend) -> object:
    """Return what this backend is told of a side."""
    if row.traits.task != "none":
        return side.task
    if row.traits.library:
        return side.library, side.prompt
    return side.prompt


def speed(document: Reply, query: Reply, row: Backend) -> Finding:
    first = "loading" if row.in_process else "connecting"
    text = f"document {document.milliseconds:.0f} ms with {first}, "
    text += f"query {query.milliseconds:.0f} ms"
    if row.in_process:
        return good("answers", text)
    if not (document.tokens or query.tokens):
        return good("answers", f"{text}; tokens billed are not said")
    return good("answers", f"{text}; {document.tokens} and {query.tokens} tokens billed")


def dimensions(length: int, dim: int, model: Model, row: Backend, asked: bool) -> Finding:
    if length > dim:
        if asked and not row.in_process and not model.layer_norm:
            return note(
                "dimensions",
                f"not honoured by the host: {length} for the {dim} that were asked. They are cut "
                "here, which gives the same vector from more bytes",
            )
        return good("dimensions", f"{dim} of {length}, cut here")
    if dim == model.dim:
        return good("dimensions", f"{dim}, the model's own")
    return good("dimensions", f"{dim}, as wanted")


def norm(document: Reply, query: Reply) -> Finding:
    norms = (document.norm, query.norm)
    if all(abs(norm - 1) <= _UNIT for norm in norms):
        return good("norm", f"{norms[0]:.4f} and {norms[1]:.4f}")
    return note("norm", f"{norms[0]:.4g} and {norms[1]:.4g} as answered; normalised here")
