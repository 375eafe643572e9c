"""The catalogue as tables and as JSON, for `ragctl models`, `ragctl backends` and the docs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from ragctl.catalog.backend_table import Backend, ServedModel
from ragctl.catalog.batch_table import BatchApi
from ragctl.catalog.catalog import Catalog
from ragctl.catalog.model_table import Instruction, Instructions, Model
from ragctl.records import Json


@dataclass(frozen=True, slots=True)
class Listing:
    """A table of text: the names of its columns, and its rows."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Return a Markdown table with the first column formatted as code."""
        lines = [self.columns, tuple("---" for _ in self.columns)]
        lines += [(f"`{row[0]}`", *row[1:]) for row in self.rows]
        return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def models(catalog: Catalog, names: Iterable[str]) -> Listing:
    """Return one row per model. The price is the range of its backends' known prices."""
    return Listing(
        ("model", "dimensions", "context", "licence", "languages", "$/M tokens", "backends"),
        [_model_row(catalog, catalog.model(name)) for name in names],
    )


def _model_row(catalog: Catalog, model: Model) -> tuple[str, ...]:
    return (
        model.name,
        f"{model.dim} ({model.sizes()})" if model.matryoshka else str(model.dim),
        f"{model.context:,}" if model.context else "any",
        licence(model),
        model.languages,
        _prices(model.name, [catalog.backends[name] for name in catalog.serving(model.name)]),
        ", ".join(serving(catalog, model)),
    )


def backends(catalog: Catalog, names: Iterable[str]) -> Listing:
    """Return one row per backend."""
    return Listing(
        ("backend", "wire", "address", "key", "dimensions", "long texts", "models"),
        [_backend_row(catalog.backend(name)) for name in names],
    )


def _backend_row(backend: Backend) -> tuple[str, ...]:
    return (
        backend.name,
        backend.wire,
        backend.base_url or "in this process",
        backend.keys[0] + ("" if backend.key_required else " (if any)") if backend.keys else "",
        cuts(backend),
        long_texts(backend),
        str(len(backend.models)),
    )


def serving(catalog: Catalog, model: Model) -> list[str]:
    """Return the backends that serve a model, the default one first."""
    others = [name for name in catalog.serving(model.name) if name != model.backend]
    return [model.backend, *others]


def licence(model: Model) -> str:
    """Return the licence, marked if it is non-commercial."""
    return f"{model.licence} (non-commercial)" if model.non_commercial else model.licence


def cuts(backend: Backend) -> str:
    """Return what cuts vectors to fewer dimensions: the host or ragctl."""
    if backend.honours_dimensions:
        return "cut by host"
    by_both = any(served.dims for served in backend.models.values())
    return "cut by host or ragctl" if by_both else "cut by ragctl"


def long_texts(backend: Backend) -> str:
    """Return what happens to a text longer than the context."""
    if backend.is_builtin:
        return "any length"
    return "refused" if backend.truncation == "refuses" else "measured by ragctl"


def quoted(text: str) -> str:
    r"""Return a prompt in quotes, so that spaces at its ends show, with line breaks as \n."""
    return json.dumps(text, ensure_ascii=False)


def price(amount: float) -> str:
    """Return dollars with two decimals, or more if needed: 0.10, 0.002."""
    return f"{amount:.2f}" if round(amount, 2) == amount else f"{amount:g}"


def _prices(model: str, backends: list[Backend]) -> str:
    """Return the range of known prices; "0" if all are free, "" if a price is unknown."""
    prices = [backend.models[model].price for backend in backends]
    paid = sorted({amount for amount in prices if amount})
    if not paid:
        return "" if None in prices else "0"
    return price(paid[0]) if len(paid) == 1 else f"{price(paid[0])} to {price(paid[-1])}"


def model_json(catalog: Catalog, model: Model) -> dict[str, Json]:
    """Return every key of a model's row; `backends` is how each backend serves it."""
    return {
        "model": model.name,
        "dim": model.dim,
        "dims": _dims_json(model.dims),
        "trained": list(model.trained),
        "context": model.context,
        "normalized": model.normalized,
        "distance": model.distance,
        "pooling": model.pooling,
        "layer_norm": model.layer_norm,
        "tokenizer": model.tokenizer,
        "licence": model.licence,
        "non_commercial": model.non_commercial,
        "languages": model.languages,
        **_instructions_json(model),
        "tasks": {name: _instructions_json(pair) for name, pair in model.tasks.items()},
        "late_chunking": model.late_chunking,
        "multi_vector": model.multi_vector,
        "images": model.images,
        "backend": model.backend,
        "price": model.price,
        "revision": model.revision,
        "hub": model.hub,
        "dense_weight": model.dense_weight,
        "family": model.family,
        "family_cosine": model.family_cosine,
        "backends": {
            name: _served_json(catalog.backends[name].models[model.name])
            for name in serving(catalog, model)
        },
    }


def backend_json(backend: Backend) -> dict[str, Json]:
    """Return every key of a backend's row; `key_command` only says whether there is one."""
    limits, rates, runtime = backend.limits, backend.rates, backend.runtime
    return {
        "backend": backend.name,
        "wire": backend.wire,
        "base_url": backend.base_url,
        "keys": list(backend.keys),
        "key_required": backend.key_required,
        "key_command": bool(backend.key_command),
        "dimensions": backend.honours_dimensions,
        "encoding": backend.encoding,
        "truncation": backend.truncation,
        "prompts": backend.prompts,
        "limits": {"texts": limits.texts, "tokens": limits.tokens, "bytes": limits.bytes},
        "rates": {"requests": rates.requests, "tokens": rates.tokens},
        "concurrency": backend.concurrency,
        "batch": _batch_json(backend.batch),
        "free_tokens": backend.free_tokens,
        "licensed": backend.licensed,
        "runtime": {
            "device": runtime.device,
            "dtype": runtime.dtype,
            "batch": runtime.batch,
            "threads": runtime.threads,
        },
        "extra": dict(backend.extra),
        "models": {name: _served_json(served) for name, served in backend.models.items()},
    }


def batch_text(batch: BatchApi) -> str:
    """Return what a batch API saves and how long it may take, in words."""
    discount = batch.discount
    saving = "price unknown" if discount is None else f"{discount:.0%} cheaper"
    return f"{batch.api}, {saving}, within {batch.hours} hours, {batch.texts:,} texts a job"


def _batch_json(batch: BatchApi | None) -> Json:
    if batch is None:
        return None
    return {
        "api": batch.api,
        "discount": batch.discount,
        "hours": batch.hours,
        "texts": batch.texts,
        "bytes": batch.bytes,
    }


def _dims_json(dims: Sequence[int]) -> Json:
    return {"min": dims[0], "max": dims[-1]} if isinstance(dims, range) else list(dims)


def _instructions_json(pair: Model | Instructions) -> dict[str, Json]:
    return {"document": _instruction_json(pair.document), "query": _instruction_json(pair.query)}


def _instruction_json(instruction: Instruction) -> Json:
    library = instruction.library
    return {
        "task": instruction.task,
        "prompt": instruction.prompt,
        "library": {"task": library.task, "prompt_name": library.prompt_name},
    }


def _served_json(served: ServedModel) -> Json:
    onnx = served.onnx
    return {
        "id": served.id,
        "dims": None if served.dims is None else list(served.dims),
        "context": served.context,
        "price": served.price,
        "fields": cast(Json, sorted(served.fields)),
        "onnx": None
        if onnx is None
        else {
            "file": onnx.file,
            "more": list(onnx.more),
            "output": onnx.output,
            "pooling": onnx.pooling,
        },
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
