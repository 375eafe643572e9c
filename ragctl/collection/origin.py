"""How a collection was made, beside its identity: backends, chunk size, canary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ragctl.errors import StoreError
from ragctl.records import Json

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.embedding.canary import Canary, CanaryRecord


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run or a search takes from the collection when the user does not say.

    `backends`: those that made it, in their order. `task`: the model's task, None for
    retrieval. `chunk_size` and `overlap`: in tokens. `canary`: None for the built-in model,
    whose version identifies it.
    """

    backends: "tuple[BackendConfig, ...]" = ()
    task: str | None = None
    chunk_size: int | None = None
    overlap: int | None = None
    canary: "CanaryRecord | None" = None

    def read_canary(self, dim: int) -> "Canary | None":
        """Return the vectors that a backend must reproduce; None for the built-in model.

        Raises StoreError when they cannot be read or do not have `dim` dimensions.
        """
        from ragctl.embedding.canary import Canary

        if self.canary is None:
            return None
        try:
            canary = Canary.from_json(cast(Mapping[str, Json], self.canary))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the collection's canary vectors cannot be read ({error})") from None
        stored = canary.documents.shape[1]
        if stored != dim:
            raise StoreError(
                f"the collection's canary vectors have {stored} dimensions, its own have {dim}"
            )
        return canary

    def to_json(self) -> dict[str, Json]:
        """Return the origin as a JSON object."""
        return {
            "backends": [config.to_json() for config in self.backends],
            "task": self.task,
            "chunk_size": self.chunk_size,
            "overlap": self.overlap,
            "canary": cast(Json, self.canary),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Origin":
        """Read what `to_json` returned. Raises KeyError or TypeError for anything else."""
        from ragctl.catalog import BackendConfig

        return cls(
            tuple(BackendConfig.from_json(config) for config in stored["backends"]),
            stored["task"],
            stored["chunk_size"],
            stored["overlap"],
            stored["canary"],
        )


def remembered(config: "BackendConfig") -> "BackendConfig":
    """Return what a collection stores of a backend: no secret, nothing of one machine."""
    from ragctl.catalog import BackendConfig

    return BackendConfig(config.name, config.base_url, config.weights)


def fill_in_backends(
    requested: "Sequence[BackendConfig]", made: "Sequence[BackendConfig]", *, remote: bool
) -> "tuple[BackendConfig, ...]":
    """Return the backends of a run: those requested, completed from those that made it.

    `remote`: the collection is on a server, where others may have written the backend's
    address, so that it is not trusted with a key. Weights are not taken from there at all:
    they may contain code.
    """
    known = tuple(_untrusted(config) for config in made) if remote else tuple(made)
    if not requested:
        return known
    result = []
    for config in requested:
        same = next((own for own in known if config.name in (None, own.name)), None)
        result.append(config if same is None else _completed(config, same))
    return tuple(result)


def _untrusted(config: "BackendConfig") -> "BackendConfig":
    return replace(config, weights=None, remote=config.base_url is not None)


def _completed(config: "BackendConfig", known: "BackendConfig") -> "BackendConfig":
    return replace(
        config,
        name=known.name,
        base_url=config.base_url or known.base_url,
        weights=config.weights or known.weights,
        remote=known.remote and config.base_url is None,
    )


def is_one_of(made: "Sequence[BackendConfig]") -> "Callable[[BackendConfig], bool]":
    """Return a predicate: whether a backend is one of those that made the collection."""
    known = {remembered(config) for config in made}
    return lambda config: remembered(config) in known
