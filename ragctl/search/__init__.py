"""Searching a collection: one question or many, as a library and for the command.

open_collection ─► Searcher ─► search_many ─► Collection.query      library.py, find.py
"team=ops and year>=2024" ─► conditions                             where.py
hits ─► rerank ─► documents together ─► passages                    rerank.py, group.py, context.py
questions of a file ─► results, a TREC run                          many.py
"""

from ragctl.rerank.reranker import Reranker, connect_reranker
from ragctl.search.ask import (
    CANDIDATES,
    EXPANDS,
    FUSIONS,
    MODES,
    Expand,
    FusionKind,
    Mode,
    SearchOptions,
)
from ragctl.search.find import BATCH, SearchOutcome, embedder_of, search, search_many
from ragctl.search.where import parse_where, undeclared

__all__ = [
    "BATCH",
    "CANDIDATES",
    "EXPANDS",
    "FUSIONS",
    "MODES",
    "Expand",
    "FusionKind",
    "Mode",
    "Reranker",
    "SearchOptions",
    "SearchOutcome",
    "connect_reranker",
    "embedder_of",
    "parse_where",
    "search",
    "search_many",
    "undeclared",
]
