"""fastembed: a model's ONNX export, run in this process.

Prompts are added and vectors normalised here: fastembed adds no prompts, and normalises
the vectors of only some models.
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

TOKENS_PER_PASS = 2048  # padding included
_POOLING_NAMES = {"none": "DISABLED", "cls": "CLS", "mean": "MEAN", "last": "LAST_TOKEN"}
_registry_lock = threading.Lock()


class FastEmbed(RuntimeWire):
    """A wire to a TextEmbedding: a model that fastembed knows, or the export in the row."""

    traits = WireTraits(in_process=True, onnx=True)
    package = "fastembed"

    def __init__(
        self, model: Model, backend: Backend, dim: int, usage: Usage, options: Options
    ) -> None:
        super().__init__(model, backend, dim, usage, options)
        if self.runtime.dtype is not None:
            raise UsageError(
                f"the {backend.name} backend has no dtype to choose: it is fixed in the ONNX file"
            )
        self._device_arguments = _device_arguments(self.runtime.device, backend.name)

    def load(self) -> int | None:
        """Load the model; return its limit in tokens, if known."""
        from fastembed import TextEmbedding
        from tokenizers import Tokenizer

        name, file = self._name(TextEmbedding)
        folder = self.weights
        if folder is not None and not (folder / file).is_file():
            raise BackendError(f"{folder} has no {file}, which {self.model.name} is loaded from")
        self._embedding: TextEmbedding = TextEmbedding(
            name,
            cache_dir=str(folder or cache_folder(os.environ)),
            threads=self.runtime.threads,
            specific_model_path=None if folder is None else str(folder),
            local_files_only=folder is not None,
            **self._device_arguments,
        )
        self._tokenizer: Tokenizer = self._embedding.model.tokenizer
        self._untruncated_tokenizer: Tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        self._untruncated_tokenizer.no_truncation()
        self._untruncated_tokenizer.no_padding()
        self.tokens_per_pass = None if self.runtime.batch else TOKENS_PER_PASS
        truncation = self._tokenizer.truncation
        return None if truncation is None else int(truncation["max_length"])

    def truncate_at(self, tokens: int) -> None:
        """Make the model read only that many tokens of each text."""
        truncation = self._tokenizer.truncation or {}
        self._tokenizer.enable_truncation(tokens, direction=truncation.get("direction", "right"))

    def count(self, instruction: Instruction, texts: Sequence[str]) -> list[int]:
        """Return the token count of each text, prompt included."""
        encoded = self._untruncated_tokenizer.encode_batch(
            [(instruction.prompt or "") + text for text in texts]
        )
        return [len(text.ids) for text in encoded]

    def run(self, instruction: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        """Return one vector per text."""
        prompted = [(instruction.prompt or "") + text for text in texts]
        rows = self._embedding.embed(prompted, batch_size=len(texts), **self._task(instruction))
        return np.stack([np.asarray(row, dtype=np.float32) for row in rows])

    def describe_call(self, instruction: Instruction) -> str:
        """Return the arguments of a call, and the version of the runtime."""
        prompt = f"prompt {instruction.prompt or ''!r}"
        task = f", task {instruction.task!r}" if self._tasks else ""
        return f"{prompt}{task} (fastembed {version('fastembed')})"

    def unload(self) -> None:
        """Free the model."""
        del self._embedding

    def _name(self, embedding: "type[TextEmbedding]") -> tuple[str, str]:
        """Return the model's name in fastembed, and the file that it is loaded from."""
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

    def _task(self, instruction: Instruction) -> dict[str, int]:
        """Return the number of the task's adapter, if the export has several (jina v3)."""
        if not self._tasks:
            return {}
        number = self._tasks.get(instruction.task or "")
        if number is None:
            raise BackendError(
                f"{self.served.id} in fastembed has no task {instruction.task!r}; it has: "
                + ", ".join(self._tasks)
            )
        return {"task_id": number}


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder for downloaded models: FASTEMBED_CACHE_PATH, else the user's cache.

    fastembed's own default is the folder for temporary files, which is emptied regularly,
    so that models of gigabytes would be downloaded again.
    """
    if configured := FASTEMBED_CACHE_PATH.value(environ):
        return Path(configured)
    from platformdirs import user_cache_path

    return user_cache_path("ragctl", appauthor=False) / "fastembed"


def _registered(
    embedding: "type[TextEmbedding]", repository: str, dim: int, onnx: Onnx
) -> tuple[str, str]:
    """Register an export with fastembed, once per process; return its name and its file.

    The name is a hash of the whole description.
    """
    from fastembed.common.model_description import ModelSource, PoolingType

    description = repr((repository, dim, onnx)).encode()
    name = f"ragctl/{hashlib.sha256(description).hexdigest()[:16]}"
    with _registry_lock:
        if all(row["model"] != name for row in embedding.list_supported_models()):
            embedding.add_custom_model(
                name,
                pooling=PoolingType[_POOLING_NAMES[onnx.pooling]],
                normalization=False,
                sources=ModelSource(hf=repository),
                dim=dim,
                model_file=onnx.file,
                additional_files=list(onnx.more),
                output_name=onnx.output,
            )
    return name, onnx.file


def _device_arguments(device: str | None, backend: str) -> dict[str, Any]:
    """Return fastembed's arguments for a device, given by torch's name. Raises UsageError."""
    if device is None:
        return {}
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return {"cuda": False}
    if kind == "cuda" and (not index or index.isdigit()):
        return {"cuda": True} | ({"device_ids": [int(index)]} if index else {})
    raise UsageError(f"the {backend} backend runs on cpu, cuda or cuda:N, not {device!r}")
