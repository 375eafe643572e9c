"""sentence-transformers: a model's PyTorch weights, run in this process.

Vectors come from plain `encode`, with the task and prompt of the side: `encode_query` and
`encode_document` pass the tasks "query" and "document", which the Jina models do not know.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ragctl.catalog import Instruction, WireTraits
from ragctl.catalog.model_table import Pooling
from ragctl.embedding import answers
from ragctl.embedding.base import Vectors
from ragctl.embedding.runtime_wire import TRIAL_TEXT, RuntimeWire
from ragctl.errors import BackendError
from ragctl.text import describe_exception

if TYPE_CHECKING:
    import torch

TOKENS_PER_PASS = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""Device -> tokens per forward pass. Measured on CPUs, where more is slower; others are guesses."""
MIN_TEXTS_TO_SHARE = 32  # texts from which a process per device pays off
UNKNOWN_TASK = "no-such-task"


class SentenceTransformers(RuntimeWire):
    """A wire to a SentenceTransformer.

    On CUDA it runs in bfloat16 (compute capability 8 or higher), elsewhere in float32. With
    several CUDA devices, or several named in the row ("cuda:0,cuda:2"), each device gets
    its own process.
    """

    # More texts to sort by length means less padding in the batches of a GPU.
    traits = WireTraits(in_process=True, library=True, cuda_texts=4)
    package = "sentence_transformers"
    install_note = (
        " (it installs torch with gigabytes for CUDA; install the torch build that you want first)"
    )

    def load(self) -> int | None:
        """Load the model; return its limit in tokens, if known."""
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
            self.location,
            device=self._devices[0],
            trust_remote_code="trust_remote_code" in self.served.fields,
            local_files_only=local,
            revision=None if local else self.model.revision,
            model_kwargs={"dtype": dtype},
        )
        if model.dtype != dtype:  # the repository's own module does not pass it on
            model.to(dtype)
        self._model: SentenceTransformer = model
        self._tokenizer = _tokenizer(model)
        self._pool: dict[str, Any] | None = None
        self._cuts = not self.model.layer_norm and self.backend.cuts_to(self.model.name, self.dim)
        self.devices = len(self._devices)
        self.tokens_per_pass = None if self.runtime.batch else TOKENS_PER_PASS.get(kind)
        own = model.max_seq_length
        return int(own) if own is not None and math.isfinite(own) else None

    def truncate_at(self, tokens: int) -> None:
        """Make the model read only that many tokens of each text."""
        own = self._model.max_seq_length
        if own is None or own > tokens:
            self._model.max_seq_length = tokens

    def count(self, instruction: Instruction, texts: Sequence[str]) -> list[int]:
        """Return the token count of each text, prompt included."""
        prompt = self._prompt(instruction)
        return [
            len(ids)
            for ids in self._tokenizer(
                [prompt + text for text in texts],
                truncation=False,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # no warning: a text that is too long is refused later
            )["input_ids"]
        ]

    def run(self, instruction: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        """Return one vector per text."""
        import torch

        share = math.ceil(len(texts) / self.devices)
        shared: dict[str, Any] = {}
        if self.devices > 1 and (self._pool is not None or len(texts) >= MIN_TEXTS_TO_SHARE):
            if self._pool is None:
                self._pool = self._model.start_multi_process_pool(self._devices)
            shared = {"pool": self._pool, "chunk_size": share}
        try:
            rows = self._model.encode(
                texts,  # positional: the parameter's name differs between versions
                batch_size=share,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,  # also after the cut
                truncate_dim=self.dim if self._cuts and not whole else None,
                **shared,
                **arguments(instruction),
            )
        except torch.OutOfMemoryError as error:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise MemoryError(str(error)) from error
        return np.asarray(rows, dtype=np.float32)

    @property
    def prompts(self) -> Mapping[str, str]:
        """The prompts of the repository's own configuration, by name; the model must be loaded."""
        return dict(self._model.prompts)

    def variant(
        self, texts: Sequence[str], *, pooling: Pooling | None = None, ending: bool = True
    ) -> Vectors:
        """Return unit vectors of texts, prompts included, as a wrongly set up server makes them.

        `pooling`: mean, cls or last, instead of the model's own. `ending`: the token
        that ends each text (EOS, [SEP]) is read. The model must have been used before. Raises
        BackendError if its modules are not those of sentence-transformers.
        """
        with self._lock:
            try:
                rows = [self._run_modules(text, pooling, ending) for text in texts]
            except Exception as error:  # a repository's own code may raise anything
                raise BackendError(
                    f"{self.location} cannot be run step by step: {describe_exception(error)}"
                ) from error
        return answers.from_vectors(
            np.stack(rows), 0, self.model, self.dim, self.backend.name
        ).vectors

    def _run_modules(self, text: str, pooling: Pooling | None, ending: bool) -> Vectors:
        import torch

        encoded = self._tokenizer(
            [text],
            return_tensors="pt",
            truncation=True,
            max_length=self._model.max_seq_length,
        )
        features: dict[str, Any] = {
            name: tensor.to(self._devices[0]) if ending else tensor[:, :-1].to(self._devices[0])
            for name, tensor in encoded.items()
        }
        with torch.inference_mode():
            for module in self._model:
                pools = "token_embeddings" in features and "sentence_embedding" not in features
                if pools and pooling in ("mean", "cls", "last"):
                    tokens = features["token_embeddings"]
                    features["sentence_embedding"] = {
                        "mean": tokens.mean(dim=1),
                        "cls": tokens[:, 0],
                        "last": tokens[:, -1],
                    }[pooling]
                else:
                    features = module(features)
        row: Vectors = features["sentence_embedding"][0].float().cpu().numpy()
        return row

    def describe_call(self, instruction: Instruction) -> str:
        """Return the arguments of a call, and the version of the runtime."""
        values = (f"{name}={value!r}" for name, value in arguments(instruction).items())
        return f"{', '.join(values)} (sentence-transformers {version('sentence-transformers')})"

    def check_trial(self, instruction: Instruction, rows: Vectors) -> None:
        """Raise BackendError if the model ignores its task.

        `encode` accepts a task for every model, and drops it if no module uses one.
        """
        if instruction.library.task is None or "task" in self._model.get_model_kwargs():
            return
        try:
            other = self._model.encode(
                [TRIAL_TEXT],
                show_progress_bar=False,
                normalize_embeddings=True,
                **(arguments(instruction) | {"task": UNKNOWN_TASK}),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError):
            return  # the model refuses an unknown task, so it uses tasks
        if np.array_equal(np.asarray(other, dtype=np.float32), rows):
            raise BackendError(
                f"{self.location} ignores the task, and {self.model.name} is called with "
                f"{self.describe_call(instruction)}: the module that uses it is missing from "
                "modules.json"
            )

    def unload(self) -> None:
        """Free the model."""
        if self._pool is not None:
            self._model.stop_multi_process_pool(self._pool)
        del self._model, self._pool

    def _prompt(self, instruction: Instruction) -> str:
        """Return the text that `encode` puts in front of each input."""
        if instruction.library.prompt_name is None:
            return instruction.prompt or ""
        # If the name is unknown, the trial after loading fails with encode's own message.
        return self._model.prompts.get(instruction.library.prompt_name) or ""


def arguments(instruction: Instruction) -> dict[str, str]:
    """Return the arguments of `encode` for an instruction.

    A prompt is passed even if it is empty; otherwise the repository's default prompt would
    be put in front of the texts.
    """
    library = instruction.library
    task = {} if library.task is None else {"task": library.task}
    if library.prompt_name is not None:
        return task | {"prompt_name": library.prompt_name}
    return task | {"prompt": instruction.prompt or ""}


def _devices(torch: Any, named: str | None) -> list[str]:
    """Return torch's names of the devices to use; small requests use only the first."""
    if named is not None:
        return [name.strip() for name in named.split(",")]
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return [f"cuda:{index}" for index in range(count)] if count > 1 else ["cuda"]
    return ["mps"] if torch.backends.mps.is_available() else ["cpu"]


def _dtype(torch: Any, kind: str, named: str | None) -> "torch.dtype":
    if named is not None:
        return getattr(torch, named)
    # Below compute capability 8 bfloat16 is emulated, and float16 overflows in models that were
    # trained in bfloat16.
    fast = kind == "cuda" and torch.cuda.get_device_capability()[0] >= 8
    return torch.bfloat16 if fast else torch.float32


def _tokenizer(model: Any) -> Any:
    """Return the model's tokenizer, which a repository's own module may wrap.

    Raises BackendError if there is none.
    """
    first = model[0]
    found = getattr(first, "tokenizer", None)
    if found is None:
        found = getattr(getattr(first, "processor", None), "tokenizer", None)
    if not callable(found):
        raise BackendError("it has no transformers tokenizer, which is needed to count tokens")
    return found


def _quiet_without_terminal() -> None:
    """Turn off progress bars and notes of downloads and loading without a terminal."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars
        from transformers.utils import logging

        disable_progress_bars()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
