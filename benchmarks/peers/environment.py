"""The peers' own virtual environment, created once from pinned versions in the cache folder."""

import base64
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks.corpus import CACHE
from ragctl.chunking.tokens import vocabulary

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SHOWN = ("langchain-core", "llama-index-core", "haystack-ai", "qdrant-client")

# tiktoken caches an encoding under the SHA-1 of its download address.
_ADDRESS = b"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"


@cache
def python() -> Path:
    """Return the interpreter; recreate the environment if the requirements have changed."""
    requirements = REQUIREMENTS.read_bytes()
    folder = CACHE / f"peers-{hashlib.sha256(requirements).hexdigest()[:12]}"
    found = folder / "bin" / "python"
    done = folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = ["-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        subprocess.run([str(found), *install], check=True)
        done.touch()
    return found


@cache
def variables() -> dict[str, str]:
    """Return variables: no telemetry, a dummy key, and ranks of o200k_base without a download."""
    ranks = CACHE / "tiktoken"
    ranks.mkdir(parents=True, exist_ok=True)
    kept = ranks / hashlib.sha1(_ADDRESS).hexdigest()
    if not kept.exists():
        lines = (b"%s %d\n" % (base64.b64encode(t), rank) for rank, t in enumerate(vocabulary()))
        kept.write_bytes(b"".join(lines))
    return {
        "TIKTOKEN_CACHE_DIR": str(ranks),
        "OPENAI_API_KEY": "none",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "LANGSMITH_TRACING": "false",
        "PYTHONPATH": "",
    }


@cache
def versions(shown: Sequence[str] = SHOWN) -> dict[str, str]:
    """Return the versions of the packages that a table names."""
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    done = subprocess.run(
        [str(python()), "-c", code, *shown], capture_output=True, text=True, check=True
    )
    return dict(zip(shown, done.stdout.split(), strict=True))
