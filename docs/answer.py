"""Find passages of the sample documents for a question: python docs/answer.py "how long …?"."""

import subprocess
import sys
from pathlib import Path

from ragctl import open_collection

SAMPLES = Path(__file__).parents[1] / "sample_docs"
QUESTION = " ".join(sys.argv[1:]) or "сколько дней отпуска?"

subprocess.run([sys.executable, "-m", "ragctl", "ingest", SAMPLES, "-c", "samples"], check=True)
with open_collection("samples") as docs:
    for hit in docs.search(QUESTION, limit=3, rerank="sentences"):
        print(f"\n[{' > '.join((hit.source, *hit.heading))}]\n{hit.text}")
