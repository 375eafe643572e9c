"""The contract of a wire: how to connect to a backend, and what the catalogue must know of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ragctl.catalog import Backend, Model, WireTraits

if TYPE_CHECKING:
    from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
    from ragctl.embedding.encoding import EncodingChoice
    from ragctl.embedding.served_model import ModelNames
    from ragctl.hosts.keys import ApiKey
    from ragctl.hosts.retry import Patience
    from ragctl.hosts.usage import Usage


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything a wire may need to connect to a backend.

    `dim` is the number of dimensions that answers must have. `key` is None where the
    backend takes none. `names`: of the model, to compare with what a server says; None: not
    compared. `encoding`: that of the vectors; None: as the backend's row says.
    """

    backend: Backend
    model: Model
    dim: int
    key: "ApiKey | None" = field(repr=False)
    usage: "Usage"
    patience: "Patience"
    options: "Options"
    names: "ModelNames | None" = None
    encoding: "EncodingChoice | None" = None


@dataclass(frozen=True, slots=True)
class TextLimits:
    """What a server says about the length of texts.

    Attributes:
        tokens: The most tokens of a text; None: it does not say.
        cuts: It truncates longer ones silently (True), or refuses them (False); None: unknown.
        count: Returns the exact tokens of the request's texts at some positions, with prompt
            and added tokens, or None if the server fails to say. None: it cannot count.
    """

    tokens: int | None = None
    cuts: bool | None = None
    count: "Callable[[EmbeddingRequest, Sequence[int]], list[int] | None] | None" = None


class BackendWire(ABC):
    """The request and answer format of a backend, or a runtime in this process.

    To add a wire, add a module to `ragctl.embedding.wires` that defines one subclass of
    this class, usually by way of RestWire or RuntimeWire. The module's name, with hyphens
    for underscores, is the wire's name in backends.toml.
    """

    traits: ClassVar[WireTraits]
    """What the catalogue checks rows of this wire by."""
    truncates: ClassVar[bool] = False
    """Whether the backend can be told to truncate texts longer than its context."""

    @classmethod
    @abstractmethod
    def connect(cls, connection: Connection) -> "BackendWire":
        """Return a wire to this backend. Sends nothing and loads no model."""

    @abstractmethod
    def call(self, request: "EmbeddingRequest") -> "Embeddings":
        """Return one unit vector of `dim` numbers per text. Must be safe to call from threads.

        Raises Transient if a retry may help, Refused if the texts are the reason, another
        BackendError otherwise.
        """

    def text_limits(self) -> TextLimits:
        """Return what the server says about the length of texts; it is asked once.

        Raises as `call` does.
        """
        return TextLimits()

    @property
    def unnamed(self) -> bool:
        """Whether a server that has answered did not state which model it runs."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Close connections, or unload the model."""

    def warm(self) -> None:  # noqa: B027 - models in this process load on first use
        """Load in the background what the first request needs. Does nothing by default."""
