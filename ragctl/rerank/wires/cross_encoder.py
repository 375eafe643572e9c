"""A cross-encoder of sentence-transformers, run in this process."""

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ragctl.catalog import WireTraits
from ragctl.errors import BackendError, UsageError
from ragctl.installation import install_command
from ragctl.rerank.base import RerankConnection, RerankRequest, RerankWire, Scores
from ragctl.text import describe_exception

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder as Model

PAIRS_PER_PASS = 16  # pairs of question and passage in one forward pass
MAX_PASSAGES = 1024


class CrossEncoder(RerankWire):
    """Scores pairs of question and passage, one call at a time. Loads the model on first use."""

    traits = WireTraits(in_process=True)
    max_passages = MAX_PASSAGES

    def __init__(self, model: str) -> None:
        """`model` is a folder or a name on the Hugging Face hub."""
        self._name = model
        self._lock = threading.Lock()
        self._model: Model | None = None

    @classmethod
    def connect(cls, connection: RerankConnection) -> Self:
        """Return the reranker. Raises UsageError without the extra, or without the folder."""
        model = connection.model
        if model is None:
            raise UsageError(
                f"write {connection.row.name}:MODEL, with a name on the hub or a folder"
            )
        if find_spec("sentence_transformers") is None:
            raise UsageError(
                f"the cross-encoder needs an extra: {install_command('sentence-transformers')} "
                "(it brings torch; install the torch build that you want before it)"
            )
        if model.startswith((".", "/", "~")) and not Path(model).expanduser().is_dir():
            raise UsageError(f"there is no folder of weights at {model}")
        return cls(model)

    def call(self, request: RerankRequest) -> Scores:
        """Score the passages. Raises BackendError if the model fails or gives no single score."""
        with self._lock:
            model = self._model = self._model or self._load()
            try:
                output = model.predict(
                    [(request.question, passage) for passage in request.passages],
                    batch_size=PAIRS_PER_PASS,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            except Exception as error:  # a repository's own code may raise anything
                raise BackendError(f"{self._name} failed: {describe_exception(error)}") from error
        scores = np.asarray(output, dtype=np.float64)
        if scores.shape != (len(request.passages),):
            raise BackendError(
                f"{self._name} returned {scores.shape[1:] or 'no'} numbers per passage: not one "
                "score"
            )
        if not np.isfinite(scores).all():
            raise BackendError(f"{self._name} returned scores that are not finite numbers")
        return Scores(tuple(scores.tolist()))

    def close(self) -> None:
        """Unload the model."""
        self._model = None

    def _load(self) -> "Model":
        from sentence_transformers import CrossEncoder as Model

        folder = Path(self._name).expanduser()
        local = folder.is_dir()
        try:
            return Model(str(folder) if local else self._name, local_files_only=local)
        except Exception as error:  # a repository's own code may raise anything
            raise BackendError(
                f"{self._name} cannot be loaded: {describe_exception(error)}"
            ) from error
