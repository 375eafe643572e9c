"""Embed a sample of the stored texts again, and compare with the stored vectors.

The canary shows which model answers now; the sample shows which one made the collection's
vectors. A server that was restarted with another model may have made a part of them.
"""

from ragctl.embedding import Embedder
from ragctl.index.verify import Damage


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
