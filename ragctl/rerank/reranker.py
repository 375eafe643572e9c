"""Rerank hits with a model that reads question and passage together.

connect_reranker(…) ─► Reranker ─► Retrying(Limited(wire))      a host
                               └─► wire                         a model in this process
"""
