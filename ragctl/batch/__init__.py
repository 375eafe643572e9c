"""Asynchronous batch APIs: texts go to a host in jobs, and later runs collect the vectors.

Jobs ──► BatchService    one for each API: upload, create, find, status, results
  │          └─ apis/    openai, voyage, mistral, gemini
  ├─ spool.py            texts to be sent and results, on disk
  └─ notes `batches`     what was sent, so that nothing is sent twice
"""
