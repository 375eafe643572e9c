"""Compares the name under which a server says it embeds with the names of the model.

Many servers answer to any model name with the one model they run. Most of them say which.
"""

import re
from dataclasses import dataclass

from ragctl.embedding.faults import FaultyBackend

_WEIGHTS_FILE = re.compile(r"(\.gguf|\.safetensors|\.bin)$")
_TAG = re.compile(r"(:latest|@[0-9a-f]{6,})$")
_VARIANT_SEPARATORS = ("-", "_", ".", ":", "@")


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

    def matches(self, name: str) -> bool | None:
        """Return whether `name` is the model's; None if it tells nothing, as a folder may.

        A longer name, such as that of a quantised file, is the model's if its beginning is,
        and no other model has it.
        """
        short = base_name(name)
        if short in self.own:
            return True
        if short in self.others:
            return False
        if any(short.startswith(own + end) for own in self.own for end in _VARIANT_SEPARATORS):
            longer = max(map(len, filter(short.startswith, self.own)))
            return not any(len(other) > longer for other in self.others if short.startswith(other))
        return None if _is_path(name) else False


def base_name(name: str) -> str:
    """Return a model's name without its owner or folder, tag and type of file, in lower case."""
    short = name.strip().lower().replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _WEIGHTS_FILE.sub("", _TAG.sub("", short))


def check_name(names: ModelNames, answered: str, host: str, requested: str) -> None:
    """Raise BackendError if a server says that it runs another model than `requested`."""
    if names.matches(answered) is False:
        raise FaultyBackend(
            "model",
            f"{host} runs {answered}, not {requested}; if it is the same model, name it so: "
            f'models = {{ "…" = "{answered}" }} in a row of backends.toml',
        )


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name or name.count("/") > 1
