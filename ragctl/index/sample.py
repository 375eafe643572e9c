"""Embed a sample of the stored texts again, and compare with the stored vectors.

The canary shows which model answers now; the sample shows which one made the collection's
vectors. A server that was restarted with another model may have made a part of them.
"""

from ragctl.collection.family import writers
from ragctl.embedding import Embedder
from ragctl.index.verify import Damage
from ragctl.stores.base import Collection


def sample_threshold(collection: Collection, embedder: Embedder, threshold: float) -> float:
    """Return the cosine from which a stored vector and the embedder's count as equal.

    `threshold` applies to one model. If other members of its family wrote too, nothing tells
    which of them made a vector, and their cosine to each other decides.
    """
    if writers(collection.settings, collection.notes()) == [embedder.model.name]:
        return threshold
    cosine = embedder.model.family_cosine
    return threshold if cosine is None else cosine


def compare_sample(damage: Damage, embedder: Embedder, threshold: float) -> None:
    """Embed the sampled chunks again, and add those with another vector to the damage.

    `threshold`: the lowest cosine at which two vectors count as equal. Raises BackendError or
    IdentityMismatch if the model cannot be asked, DocumentError for a text that it refuses.
    """
    if not damage.sample:
        return
    vectors = embedder.documents([chunk.text for chunk in damage.sample])
    for chunk, vector in zip(damage.sample, vectors, strict=True):
        cosine = float(chunk.vector @ vector)
        if not cosine >= threshold:
            damage.add(
                "model",
                chunk.source,
                f"chunk {chunk.ordinal}: the model makes another vector of its text (cosine "
                f"{cosine:.2f})",
            )
