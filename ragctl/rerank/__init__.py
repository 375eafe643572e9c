"""Rerankers: models that score a question and a passage together.

A reranker is a table in rerankers.toml; how it is asked is a module in `wires`.
"""
