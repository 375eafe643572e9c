"""Find passages for a question: python docs/answer.py sample_docs "how long …?".

The folder is indexed into a collection of its own first; later calls embed only what changed.
"""

import subprocess
import sys
from pathlib import Path

from ragctl import open_collection

if len(sys.argv) < 3:
    sys.exit("usage: python answer.py FOLDER QUESTION")
folder, question = Path(sys.argv[1]).resolve(), " ".join(sys.argv[2:])
name = f"answer-{folder.name}"
run = subprocess.run([sys.executable, "-m", "ragctl", "ingest", folder, "-c", name], check=False)
if run.returncode not in (0, 3):  # 3: some documents failed, the others can be searched
    sys.exit(run.returncode)
with open_collection(name) as collection:
    for hit in collection.search(question, limit=3):
        print(f"\n[{' > '.join((hit.source, *hit.heading))}]\n{hit.text}")
