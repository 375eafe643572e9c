"""Search a collection: one question or many, for the library and the command.

    question ─► Query ─► Collection.query ─► rerank ─► group ─► skip, limit ─► context

`library.py`  open_collection() → Searcher, the Python interface; `aio.py` for asyncio
`options.py`  every search option, declared once
`query.py`    a question as a store's Query; `find.py` runs the steps above for a batch of questions
`where.py`    filters as text; `group.py`, `context.py` what happens to the hits
`batch.py`    questions from a file, answers and TREC runs to files
"""
