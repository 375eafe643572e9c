"""Lexical models: BM25, languages, and the built-in embedding."""
