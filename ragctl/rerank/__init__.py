"""Rerank the hits of a search."""
