"""sentence-transformers: a model's PyTorch weights, run in this process.

Plain `encode` is called, with the task and prompt of the side. `encode_query` and
`encode_document` give the model the tasks "query" and "document", which the Jina
models do not know.
"""

import math
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ragctl.catalog import Instruction, WireTraits
from ragctl.embedding.base import Vectors
from ragctl.embedding.runtime_wire import WORD, RuntimeWire
from ragctl.errors import BackendError

if TYPE_CHECKING:
    import torch

_BUDGETS = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""Tokens a forward pass. Measured on a CPU, where more are slower; a choice on the others."""
_SHARED = 32  # texts from which it pays to start a process for each device
_NO_TASK = "no-such-task"


class SentenceTransformers(RuntimeWire):
    """A Wire to a SentenceTransformer.

    On CUDA it runs in bfloat16 (from compute capability 8 on), elsewhere in
    float32. Where there are several CUDA devices and the row names none, or it
    names several ("cuda:0,cuda:2"), each gets a process of its own.
    """

    # Sorting more texts by length leaves less padding per batch on a GPU.
    traits = WireTraits(in_process=True, library=True, cuda_texts=4)
    package = "sentence_transformers"
    note = (
        " (it brings torch, and with it gigabytes for CUDA; "
        "install the torch build that you want before it)"
    )

    def load(self) -> int | None:
        import torch
        from sentence_transformers import SentenceTransformer

        _quiet_without_terminal()
        self._devices = _devices(torch, self.runtime.device)
        kind = torch.device(self._devices[0]).type
        dtype = _dtype(torch, kind, self.runtime.dtype)
        if self.runtime.threads:
            torch.set_num_threads(self.runtime.threads)
        local = self.weights is not None
        model = SentenceTransformer(
            self.origin,
            device=self._devices[0],
            trust_remote_code="trust_remote_code" in self.served.fields,
            local_files_only=local,
            revision=None if local else self.model.revision,
            model_kwargs={"dtype": dtype},
        )
        if model.dtype != dtype:  # a module of the repository's own that does not pass it on
            model.to(dtype)
        self._model: SentenceTransformer = model
        self._tokenizer = _tokenizer(model)
        self._pool: dict[str, Any] | None = None
        self._cuts = not self.model.layer_norm and self.backend.cuts_to(self.model.name, self.dim)
        self.devices = len(self._devices)
        self.budget = None if self.runtime.batch else _BUDGETS.get(kind)
        own = model.max_seq_length
        return int(own) if own is not None and math.isfinite(own) else None

    def cut_at(self, tokens: int) -> None:
        own = self._model.max_seq_length
        if own is None or own > tokens:
            self._model.max_seq_length = tokens

    def count(self, side: Instruction, texts: Sequence[str]) -> list[int]:
        prompt = self._prompt(side)
        return [
            len(ids)
            for ids in self._tokenizer(
                [prompt + text for text in texts],
                truncation=False,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # else it warns of what is refused here in clearer words
            )["input_ids"]
        ]

    def run(self, side: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        import torch

        share = math.ceil(len(texts) / self.devices)
        shared: dict[str, Any] = {}
        if self.devices > 1 and (self._pool is not None or len(texts) >= _SHARED):
            if self._pool is None:
                self._pool = self._model.start_multi_process_pool(self._devices)
            shared = {"pool": self._pool, "chunk_size": share}
        try:
            rows = self._model.encode(
                texts,  # by position: its name differs between versions
                batch_size=share,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,  # after the cut too, which is not done otherwise
                truncate_dim=self.dim if self._cuts and not whole else None,
                **shared,
                **arguments(side),
            )
        except torch.OutOfMemoryError as error:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise MemoryError(str(error)) from error
        return np.asarray(rows, dtype=np.float32)

    def told(self, side: Instruction) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in arguments(side).items())
        return f"{said} (sentence-transformers {version('sentence-transformers')})"

    def examine(self, side: Instruction, rows: Vectors) -> None:
        """Refuse a model that takes a task and does nothing with it.

        encode accepts a task for every model, and drops it where no module asks for one.
        """
        if side.library.task is None or "task" in self._model.get_model_kwargs():
            return
        try:
            other = self._model.encode(
                [WORD],
                show_progress_bar=False,
                normalize_embeddings=True,
                **(arguments(side) | {"task": _NO_TASK}),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError):
            return  # it knows its tasks
        if np.array_equal(np.asarray(other, dtype=np.float32), rows):
            raise BackendError(
                f"{self.origin} does nothing with a task, and {self.model.name} is told "
                f"{self.told(side)}: the module that takes it is missing from modules.json"
            )

    def unload(self) -> None:
        if self._pool is not None:
            self._model.stop_multi_process_pool(self._pool)
        del self._model, self._pool

    def _prompt(self, side: Instruction) -> str:
        """Return the text that encode puts before each input of a side."""
        if side.library.prompt_name is None:
            return side.prompt or ""
        # An unknown name is what the model is tried for: encode says it in its own words.
        return self._model.prompts.get(side.library.prompt_name) or ""


def arguments(side: Instruction) -> dict[str, str]:
    """Return what encode is told of a side.

    A prompt is given even where it is empty: else a default prompt of the
    repository's would come before the texts.
    """
    library = side.library
    told = {} if library.task is None else {"task": library.task}
    if library.prompt_name is not None:
        return told | {"prompt_name": library.prompt_name}
    return told | {"prompt": side.prompt or ""}


def _devices(torch: Any, named: str | None) -> list[str]:
    """Return torch's names of the devices to use, the first of them for small requests."""
    if named is not None:
        return [name.strip() for name in named.split(",")]
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return [f"cuda:{index}" for index in range(count)] if count > 1 else ["cuda"]
    return ["mps"] if torch.backends.mps.is_available() else ["cpu"]


def _dtype(torch: Any, kind: str, named: str | None) -> "torch.dtype":
    if named is not None:
        return getattr(torch, named)
    # Below 8 bfloat16 is emulated, and float16 overflows in models that were trained in bfloat16.
    fast = kind == "cuda" and torch.cuda.get_device_capability()[0] >= 8
    return torch.bfloat16 if fast else torch.float32


def _tokenizer(model: Any) -> Any:
    """Return what counts a model's tokens. A module of a repository's own may hide it."""
    first = model[0]
    found = getattr(first, "tokenizer", None)
    if found is None:
        found = getattr(getattr(first, "processor", None), "tokenizer", None)
    if not callable(found):
        raise BackendError("it has no tokenizer of transformers, which is needed to count tokens")
    return found


def _quiet_without_terminal() -> None:
    """Show bars and notes of downloads and loading only to someone who looks."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars
        from transformers.utils import logging

        disable_progress_bars()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
