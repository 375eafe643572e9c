"""Rerankers: models that score a question and a passage together.

A reranker is a table in rerankers.toml; its request and answer format is a module in `wires`.
"""
