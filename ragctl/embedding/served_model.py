"""Compares the name under which a server says it embeds with the names of the model.

Many servers answer to any model name with the one model they run. Most of them say which.
"""

import re
from dataclasses import dataclass

from ragctl.embedding.faults import FaultyBackend

_WEIGHTS_FILE = re.compile(r"(\.gguf|\.safetensors|\.bin)$")
_TAG = re.compile(r"(:latest|@[0-9a-f]{6,})$")
_VARIANT_SEPARATORS = ("", "-", "_", ".", ":", "@")  # "": the name ends there


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of a model in the catalogue, and those of all other models there.

    Both are as `base_name` returns them.
    """

    own: frozenset[str]
    others: frozenset[str]

    @classmethod
    def of(cls, own: "set[str]", others: "set[str]") -> "ModelNames":
        """Return the names in their short form; a shared one belongs to the model."""
        short = frozenset(map(base_name, own))
        return cls(short, frozenset(map(base_name, others)) - short)

    def is_other(self, name: str) -> bool:
        """Return whether `name` is that of another model of the catalogue."""
        short = base_name(name)
        return _longest_beginning(self.others, short) > _longest_beginning(self.own, short)

    def matches(self, name: str) -> bool | None:
        """Return whether `name` is the model's; None if it tells nothing, as a folder may.

        A longer name, such as that of a quantised file, is that of the model whose name is the
        longest beginning of it.
        """
        short = base_name(name)
        own, other = _longest_beginning(self.own, short), _longest_beginning(self.others, short)
        if own or other:
            return own > other
        return None if _is_path(name) else False


def _longest_beginning(names: frozenset[str], short: str) -> int:
    """Return the length of the longest of `names` that `short` is, or begins with as a variant."""
    return max(
        (
            len(name)
            for name in names
            if short.startswith(name) and short[len(name) :][:1] in _VARIANT_SEPARATORS
        ),
        default=0,
    )


def base_name(name: str) -> str:
    """Return a model's name without its owner or folder, tag and type of file, in lower case."""
    short = name.strip().lower().replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _WEIGHTS_FILE.sub("", _TAG.sub("", short))


def check_name(names: ModelNames, answered: str, host: str, requested: str) -> bool:
    """Return whether `answered` is a name of the model; False if it tells nothing.

    Raises BackendError if a server says that it runs another model than `requested`.
    """
    matches = names.matches(answered)
    if matches is False:
        raise FaultyBackend(
            "model",
            f"{host} runs {answered}, not {requested}; if it is the same model, name it so: "
            f'models = {{ "…" = "{answered}" }} in a row of backends.toml',
        )
    return matches is True


def unnamed_warning(model: str) -> str:
    """Return what to say of a backend that states no name of its model anywhere."""
    return (
        f"it does not state which model it runs: only the canary texts show whether it is {model}"
    )


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name or name.count("/") > 1
