"""Find passages for a question in a collection: python docs/answer.py docs "how long …?".

It only reads: nothing is indexed, and nothing is left behind.
"""

import sys

from ragctl import RagctlError, open_collection

if len(sys.argv) < 3:
    sys.exit("usage: python answer.py COLLECTION QUESTION")
name, question = sys.argv[1], " ".join(sys.argv[2:])
try:
    with open_collection(name) as collection:
        for hit in collection.search(question, limit=3):
            print(f"\n[{' > '.join((hit.source, *hit.heading))}]\n{hit.text}")
except RagctlError as error:
    print(f"answer.py: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
