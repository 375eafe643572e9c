"""The origin of a collection: its backends, chunk size and canary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ragctl.errors import StoreError
from ragctl.records import Json

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.embedding.canary import Canary, CanaryRecord


@dataclass(frozen=True, slots=True)
class Origin:
    """The defaults that a collection provides for later runs and searches.

    `backends`: the backends that made it, in order. `task`: the model's task, None for
    retrieval. `chunk_size` and `overlap`: in tokens. `canary`: None for the built-in model,
    whose version identifies it. `unverified`: the vectors were copied from a collection of another
    program, and nobody checked that the model made them.
    """

    backends: "tuple[BackendConfig, ...]" = ()
    task: str | None = None
    chunk_size: int | None = None
    overlap: int | None = None
    canary: "CanaryRecord | None" = None
    unverified: bool = False

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
            "unverified": self.unverified,
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
            stored["unverified"] is True,
        )


def stored_config(config: "BackendConfig") -> "BackendConfig":
    """Return the part of a backend's configuration that is stored: name, address, weights."""
    from ragctl.catalog import BackendConfig

    return BackendConfig(config.name, config.base_url, config.weights)


def fill_in_backends(
    requested: "Sequence[BackendConfig]", made: "Sequence[BackendConfig]", *, remote: bool
) -> "tuple[BackendConfig, ...]":
    """Return the backends of a run: the requested ones, completed from those in the origin.

    Without requested backends, those of the origin (`made`) are used. `remote`: the collection
    is on a server, where others may have written a backend's address, so no API key is sent to
    that address. Weights are never taken from a server: they may contain code.
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
