"""Certification of a CertifiedServer: catalogue rows, settings, and runs of it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from ragctl.catalog import BackendConfig, Catalog, Layer
from ragctl.check.certify.certification import Certification, ReferenceTrial
from ragctl.check.certify.reference import Reference
from ragctl.check.findings import BackendReport
from ragctl.check.trial import TrialSettings
from ragctl.embedding import Options
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.embedding.catalogs import user_catalog
from tests import runtime_models
from tests.servers.certified import DOCUMENT, NAME, QUERY, SHA, CertifiedServer, Faults, wrong_way

PLAIN, PROMPTED = "all-minilm-l6-v2", "minilm-prompted"

MODEL: Mapping[str, Any] = {
    "dim": 384,
    "dims": [128, 256, 384],
    "context": 256,
    "normalized": True,
    "distance": "cosine",
    "pooling": "mean",
    "tokenizer": "BERT WordPiece",
    "licence": "Apache-2.0",
    "languages": "en",
    "document": {"prompt": DOCUMENT},
    "query": {"prompt": QUERY},
    "backend": "server",
    "revision": SHA,
}
"""all-MiniLM-L6-v2 as a model with prompts and smaller sizes: its weights take any."""

SERVED = {
    "dimensions": True,
    "truncation": "refuses",
    "limits": {"texts": 32},
    "price": 0.02,
    "models": {PROMPTED: NAME, PLAIN: NAME},
}
ROWS: Mapping[str, Any] = {
    "server": {"wire": "openai", "base_url": "http://localhost/v1", "encoding": "float", **SERVED},
    "server-tei": {"wire": "tei", "base_url": "http://localhost", **SERVED},
    "local": {"wire": "sentence-transformers", **SERVED},
}


def catalog() -> Catalog:
    rows = Layer("models", {PROMPTED: MODEL}, "rows", ROWS)
    return user_catalog({"RAGCTL_CONFIG": "none"}, rows)


def settings(model: str = PROMPTED, dim: int = 128, **options: bool) -> TrialSettings:
    rows = catalog()
    return TrialSettings(
        model=rows.model(model),
        dim=dim,
        task=None,
        options=Options(**options),
        catalog=rows,
        environ={},
        canary=None,
        threshold=CANARY_THRESHOLD,
        compare=False,
        seconds=120,
    )


def reference(
    way: Faults | None = None, model: str = PROMPTED, dim: int = 128, name: str = "the other"
) -> Reference:
    """Return the canary of a right server, as a collection or a second backend has it."""
    with CertifiedServer(way) as server:
        trial = ReferenceTrial(
            settings(model, dim), "other", BackendConfig("server", base_url=server.url)
        )
        report = trial.run()
    assert trial.reference is not None, report
    return Reference(name, trial.reference.canary)


def local_reference(model: str = PROMPTED, dim: int = 128) -> Reference:
    """Return the canary of the model in this process, with what each fault makes of it."""
    config = BackendConfig("local", weights=str(runtime_models.minilm()))
    trial = ReferenceTrial(settings(model, dim), "local", config)
    report = trial.run()
    assert trial.reference is not None, report
    assert trial.reference.variants
    return trial.reference


def certify(
    server: CertifiedServer,
    references: Sequence[Reference] = (),
    *,
    model: str = PROMPTED,
    dim: int = 128,
    lines: list[str] | None = None,
    **options: bool,
) -> BackendReport:
    """Certify a running server."""
    name = "server-tei" if server.style == "tei" else "server"
    config = BackendConfig(name, base_url=server.url)
    told = [] if lines is None else lines
    return Certification(
        settings(model, dim, **options), name, config, references, None, told.append
    ).run()


def by_status(report: BackendReport, status: str) -> dict[str, str]:
    return {each.what: each.text for each in report.findings if each.status == status}


def texts_sent(server: CertifiedServer) -> int:
    return sum(map(len, server.embedded))


def jittering(seed: int) -> CertifiedServer:
    """Return a right server whose number type, and texts of other users, are a matter of chance."""
    chance = random.Random(seed)
    dtype = chance.choice(("float16", "bfloat16"))
    return CertifiedServer(
        wrong_way(dtype=dtype),
        style="tei" if chance.random() < 0.5 else "openai",
        tokenizes=chance.random() < 0.5,
        others=chance,
    )
