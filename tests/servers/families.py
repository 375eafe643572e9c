"""Models that share one vector space by design, and how far their vectors are from it."""

FAMILIES = {
    **{
        f"jina-embeddings-v5-omni-{size}": (f"jina-embeddings-v5-text-{size}", 0.0)
        for size in ("small", "nano")
    },
    "voyage-4": ("voyage-4-large", 0.6),
    "voyage-4-lite": ("voyage-4-large", 0.8),
}
"""Model -> the model whose space it shares, and the norm of the difference of two whole
vectors of length 1."""
