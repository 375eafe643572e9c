"""fastembed: a model's ONNX export, run in this process.

Prompts are added and vectors normalised here: fastembed adds no prompts to any
model, and normalises only some.
"""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragctl.catalog import Backend, Instruction, Model, Onnx, WireTraits
from ragctl.embedding.base import Options, Vectors
from ragctl.embedding.runtime_wire import RuntimeWire
from ragctl.environment import FASTEMBED_CACHE_PATH
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.usage import Usage

if TYPE_CHECKING:
    from fastembed import TextEmbedding

_BUDGET = 2048  # tokens a forward pass, padding included
_POOLING = {"none": "DISABLED", "cls": "CLS", "mean": "MEAN", "last": "LAST_TOKEN"}
_registering = threading.Lock()


class FastEmbed(RuntimeWire):
    """A Wire to a TextEmbedding: one that fastembed knows, or the export that the row describes."""

    traits = WireTraits(in_process=True, onnx=True)
    package = "fastembed"

    def __init__(
        self, model: Model, backend: Backend, dim: int, usage: Usage, options: Options
    ) -> None:
        super().__init__(model, backend, dim, usage, options)
        if self.runtime.dtype is not None:
            raise UsageError(
                f"the {backend.name} backend has no dtype to choose: an ONNX file has its own"
            )
        self._place = _place(self.runtime.device, backend.name)

    def load(self) -> int | None:
        from fastembed import TextEmbedding
        from tokenizers import Tokenizer

        name, file = self._name(TextEmbedding)
        folder = self.weights
        if folder is not None and not (folder / file).is_file():
            raise BackendError(f"{folder} has no {file}, which is read for {self.model.name}")
        self._embedding: TextEmbedding = TextEmbedding(
            name,
            cache_dir=str(folder or cache_folder(os.environ)),
            threads=self.runtime.threads,
            specific_model_path=None if folder is None else str(folder),
            local_files_only=folder is not None,
            **self._place,
        )
        self._reading: Tokenizer = self._embedding.model.tokenizer
        self._counting: Tokenizer = Tokenizer.from_str(self._reading.to_str())
        self._counting.no_truncation()
        self._counting.no_padding()
        self.budget = None if self.runtime.batch else _BUDGET
        cut = self._reading.truncation
        return None if cut is None else int(cut["max_length"])

    def cut_at(self, tokens: int) -> None:
        cut = self._reading.truncation or {}
        self._reading.enable_truncation(tokens, direction=cut.get("direction", "right"))

    def count(self, side: Instruction, texts: Sequence[str]) -> list[int]:
        encoded = self._counting.encode_batch([(side.prompt or "") + text for text in texts])
        return [len(text.ids) for text in encoded]

    def run(self, side: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        prompted = [(side.prompt or "") + text for text in texts]
        rows = self._embedding.embed(prompted, batch_size=len(texts), **self._task(side))
        return np.stack([np.asarray(row, dtype=np.float32) for row in rows])

    def told(self, side: Instruction) -> str:
        prompt = f"prompt {side.prompt or ''!r}"
        task = f", task {side.task!r}" if self._tasks else ""
        return f"{prompt}{task} (fastembed {version('fastembed')})"

    def unload(self) -> None:
        del self._embedding

    def _name(self, embedding: "type[TextEmbedding]") -> tuple[str, str]:
        """Return the model's name in fastembed, and the file that is read of it."""
        self._tasks: Mapping[str, int] = {}
        if self.served.onnx is not None:
            return _registered(embedding, self.served.id, self.model.dim, self.served.onnx)
        known = {row["model"].lower(): row for row in embedding.list_supported_models()}
        row = known.get(self.served.id.lower())
        if row is None:
            raise BackendError(
                f"fastembed {version('fastembed')} does not know {self.served.id}; describe its "
                f"export in the {self.backend.name} row of {self.model.name}, as onnx"
            )
        self._tasks = row["tasks"] or {}
        return row["model"], row["model_file"]

    def _task(self, side: Instruction) -> dict[str, int]:
        """Return the number of a side's adapter, where the export holds several (jina v3)."""
        if not self._tasks:
            return {}
        number = self._tasks.get(side.task or "")
        if number is None:
            raise BackendError(
                f"{self.served.id} in fastembed has no task {side.task!r}; it has: "
                + ", ".join(self._tasks)
            )
        return {"task_id": number}


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return where models are kept: FASTEMBED_CACHE_PATH, else the user's cache.

    fastembed's own choice is the system's folder for temporary files, which is
    emptied: a model of gigabytes would be fetched anew.
    """
    if configured := FASTEMBED_CACHE_PATH.value(environ):
        return Path(configured)
    from platformdirs import user_cache_path

    return user_cache_path("ragctl", appauthor=False) / "fastembed"


def _registered(
    embedding: "type[TextEmbedding]", repository: str, dim: int, onnx: Onnx
) -> tuple[str, str]:
    """Make an export known to fastembed, once in a process, under a name that says all of it."""
    from fastembed.common.model_description import ModelSource, PoolingType

    described = repr((repository, dim, onnx)).encode()
    name = f"ragctl/{hashlib.sha256(described).hexdigest()[:16]}"
    with _registering:
        if all(row["model"] != name for row in embedding.list_supported_models()):
            embedding.add_custom_model(
                name,
                pooling=PoolingType[_POOLING[onnx.pooling]],
                normalization=False,
                sources=ModelSource(hf=repository),
                dim=dim,
                model_file=onnx.file,
                additional_files=list(onnx.more),
                output_name=onnx.output,
            )
    return name, onnx.file


def _place(device: str | None, host: str) -> dict[str, Any]:
    """Return fastembed's arguments for a device as torch names it."""
    if device is None:
        return {}
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return {"cuda": False}
    if kind == "cuda" and (not index or index.isdigit()):
        return {"cuda": True} | ({"device_ids": [int(index)]} if index else {})
    raise UsageError(f"the {host} backend runs on cpu, cuda or cuda:N, not {device!r}")
