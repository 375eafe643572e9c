"""A cross-encoder of sentence-transformers, run in this process."""

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragctl.errors import BackendError, UsageError
from ragctl.installation import install_command
from ragctl.text import describe_exception

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder as Model

_BATCH = 16  # pairs a forward pass


class CrossEncoder:
    """Judges pairs of question and passage, one call at a time. Loaded with the first."""

    def __init__(self, model: str) -> None:
        """`model` is a folder, or a name on the hub. Raises UsageError without the extra."""
        if find_spec("sentence_transformers") is None:
            raise UsageError(
                f"the cross-encoder needs an extra: {install_command('sentence-transformers')} "
                "(it brings torch; install the torch build that you want before it)"
            )
        if (model.startswith((".", "/", "~"))) and not Path(model).expanduser().is_dir():
            raise UsageError(f"there is no folder of weights at {model}")
        self._name = model
        self._lock = threading.Lock()
        self._model: Model | None = None

    @property
    def most(self) -> int:
        """Passages that one call may carry."""
        return _BATCH * 64

    def scores(self, question: str, passages: Sequence[str]) -> tuple[list[float], int]:
        """Scores in the order of the passages, and 0 tokens billed. Raises BackendError."""
        with self._lock:
            model = self._model = self._model or self._load()
            try:
                found = model.predict(
                    [(question, passage) for passage in passages],
                    batch_size=_BATCH,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            except Exception as error:  # a repository's own code may raise anything
                raise BackendError(f"{self._name} failed: {describe_exception(error)}") from error
        scores = np.asarray(found, dtype=np.float64)
        if scores.shape != (len(passages),):
            raise BackendError(
                f"{self._name} answers {scores.shape[1:] or 'no'} numbers a passage: not one score"
            )
        if not np.isfinite(scores).all():
            raise BackendError(f"{self._name} answers scores that are no numbers")
        return [float(score) for score in scores], 0

    def _load(self) -> "Model":
        from sentence_transformers import CrossEncoder as Model

        folder = Path(self._name).expanduser()
        local = folder.is_dir()
        try:
            return Model(str(folder) if local else self._name, local_files_only=local)
        except Exception as error:  # as above
            raise BackendError(
                f"{self._name} cannot be loaded: {describe_exception(error)}"
            ) from error

    def close(self) -> None:
        self._model = None
