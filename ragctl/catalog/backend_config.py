"""A backend chosen for a run: a row of the catalogue and this run's own settings for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ragctl.catalog.backend_table import Backend, Rates, Runtime
from ragctl.catalog.catalog import Catalog
from ragctl.catalog.instructions import check_task
from ragctl.errors import UsageError
from ragctl.records import Json


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """The settings of one backend in a run. A setting that is None has the catalogue's value.

    `name` is a row of `backends.toml`, None for the model's default backend. `weights` is
    the folder of a model that runs in this process, `price` US dollars per million tokens.
    `remote`: the address was read from a collection on a server, so another user may have
    written it.
    """

    name: str | None = None
    base_url: str | None = None
    weights: str | None = None
    key_command: tuple[str, ...] = field(default=(), repr=False)
    concurrency: int | None = None
    rates: Rates | None = None
    price: float | None = None
    runtime: Runtime | None = None
    remote: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise UsageError(f"concurrency must be 1 or more, not {self.concurrency}")

    @property
    def label(self) -> str:
        """The name for reports and messages, with the run's own address or folder if it has one."""
        own = self.base_url or self.weights
        name = self.name or "the default backend"
        return f"{name} at {own}" if own else name

    def with_default_name(self, name: str) -> "BackendConfig":
        """Return this config with `name` filled in if it is missing."""
        return self if self.name else replace(self, name=name)

    def to_json(self) -> dict[str, Json]:
        """Return what a collection stores: nothing secret and no setting of one account."""
        return {"backend": self.name, "base_url": self.base_url, "weights": self.weights}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "BackendConfig":
        """Read what `to_json` returned."""
        base_url, weights = value.get("base_url"), value.get("weights")
        name = value.get("backend")
        return cls(
            str(name) if name else None,
            str(base_url) if base_url else None,
            str(weights) if weights else None,
        )

    def resolve(self, catalog: Catalog, model: str, task: str | None = None) -> Backend:
        """Return the backend's row with this run's settings in place of the catalogue's.

        Raises UsageError if the backend is unknown, does not serve `model` or `task`, or
        takes no address or folder and one is set.
        """
        known = catalog.model(model)
        row, model = catalog.backend(self.name or known.backend), known.name
        if model not in row.models:
            others = ", ".join(catalog.serving(model))
            raise UsageError(f"backend {row.name} does not serve {model}; these do: {others}")
        check_task(known, row, task)
        if self.base_url is not None and row.in_process:
            raise UsageError(f"the {row.name} backend runs in this process: it has no base URL")
        if self.weights is not None and (not row.in_process or row.is_builtin):
            raise UsageError(f"the {row.name} backend takes no folder of weights")
        served = row.models[model]
        if self.price is not None:
            served = replace(served, price=self.price)
        if self.weights is not None:
            served = replace(served, weights=self.weights)
        runtime = self.runtime or row.runtime
        limits = row.limits
        factor = row.traits.cuda_texts
        if factor > 1 and runtime.on_cuda():
            limits = replace(limits, texts=factor * limits.texts)
        return replace(
            row,
            limits=limits,
            base_url=None
            if row.in_process
            else normalize_base_url(self.base_url or row.base_url or ""),
            key_command=self.key_command or row.key_command,
            concurrency=self.concurrency or row.concurrency,
            rates=self.rates or row.rates,
            runtime=runtime,
            models={**row.models, model: served},
        )


def normalize_base_url(url: str) -> str:
    """Return a base URL without a trailing slash or the path of an embedding method.

    Raises UsageError if `url` is not a plain http or https address.
    """
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or too large
        valid = False
    if not valid:
        raise UsageError(f"the base URL {url!r} is not an http or https address")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Do not quote the URL: it may hold a secret.
        raise UsageError(
            "the base URL must be an address without user, password, query or fragment; a key "
            "belongs in its environment variable"
        )
    url = url.rstrip("/")
    for method in ("/api/embed", "/api/embeddings", "/embeddings", "/embed"):
        if url.endswith(method):
            return url.removesuffix(method)
    return url
