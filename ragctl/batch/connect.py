"""From a backend of a run to the client of its batch API."""

from collections.abc import Mapping
from importlib import import_module

from ragctl.batch.service import BatchService
from ragctl.batch.text_guard import TextGuard
from ragctl.catalog import Backend, Model
from ragctl.embedding.backend_wire import Connection
from ragctl.embedding.base import Options
from ragctl.embedding.rest_wire import RestWire
from ragctl.embedding.wire_registry import wire_class
from ragctl.errors import UsageError
from ragctl.hosts.files import FileClient
from ragctl.hosts.keys import find_key
from ragctl.hosts.retry import Patience
from ragctl.hosts.usage import Usage

WIRES = {"openai": "openai", "voyage": "voyage", "mistral": "openai", "gemini": "gemini"}
"""The wire that makes the bodies of each batch API."""


def connect_batch(
    backend: Backend,
    model: Model,
    dim: int,
    options: Options,
    usage: Usage,
    environ: Mapping[str, str],
    patience: Patience,
) -> BatchService:
    """Return the client of a backend's batch API. Sends nothing.

    Raises UsageError if the backend has none, BackendError if its key is missing.
    """
    api = backend.batch
    if api is None or WIRES[api.api] != backend.wire:
        raise UsageError(batch_problem(backend) or "")
    key = find_key(backend, environ)
    wire_type = wire_class(backend.wire)
    assert issubclass(wire_type, RestWire)
    wire = wire_type.connect(Connection(backend, model, dim, key, usage, patience, options))
    client = FileClient(
        wire_type.address(backend.base_url or "", key),
        key,
        error_rules=wire_type.error_rules,
        usage=usage,
        patience=patience,
        connections=1,
        auth=wire_type.auth,
        key_variable=backend.keys[0] if backend.keys else None,
    )
    module = import_module(f"ragctl.batch.apis.{api.api}")
    service_type: type[BatchService] = module.API
    service = service_type(wire, client, api)
    service.guard = TextGuard(wire, model, backend, usage, truncate=options.truncate)
    return service


def batch_problem(backend: Backend) -> str | None:
    """Return why a backend cannot take batches, or None."""
    if backend.in_process:
        return f"{backend.name} runs in this process and has no batch API"
    if backend.batch is None:
        return (
            f"no batch API of {backend.name} is known; if it has OpenAI's, add "
            f'batch = {{ api = "openai" }} to [backends.{backend.name}]'
        )
    if WIRES[backend.batch.api] != backend.wire:
        return f"the {backend.batch.api} batch API cannot be used with the {backend.wire} wire"
    return None
