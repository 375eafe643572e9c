"""Every environment variable that ragctl or one of its libraries reads, declared once.

Code that reads a variable takes its name from here. `ragctl schedule` goes through VARIABLES to
decide what a job needs, and docs/environment.md lists them. The variables that hold API keys of
backends and rerankers are in the catalogue (`keys` in backends.toml and rerankers.toml).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ValueKind = Literal[
    "text",
    "path",
    "paths",  # separated by os.pathsep
    "location",  # a path, or an address with "://"
]


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable.

    Attributes:
        name: the name of the variable.
        purpose: what it does, as a sentence for the documentation.
        kind: what the value is; `schedule` makes paths absolute.
        secret: never printed and never written to a crontab or unit.
        carried: `ragctl schedule` writes its value into the crontab line or unit.
        server_only: only a store on a Qdrant server uses it.
    """

    name: str
    purpose: str
    kind: ValueKind = "text"
    secret: bool = False
    carried: bool = True
    server_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a declaration that would write a secret into a crontab."""
        assert not (self.secret and self.carried), f"{self.name}: a secret is never carried"

    def value(self, environ: Mapping[str, str]) -> str:
        """Return the value of the variable in `environ`, "" if it is not set."""
        return environ.get(self.name, "")


HOME = Variable(
    "RAGCTL_HOME",
    "Store to use when neither `--store` nor the pipeline names one: a folder, or a URL.",
    "location",
)
CONFIG = Variable(
    "RAGCTL_CONFIG",
    "Folder with your own `models.toml`, `backends.toml` and `rerankers.toml`.",
    "path",
)
LOG_FORMAT = Variable(
    "RAGCTL_LOG_FORMAT",
    "Format of lines on standard error, `text` or `json`; `--log-format` overrides it.",
)
LEASE_SECONDS = Variable(
    "RAGCTL_LEASE_SECONDS",
    "Lifetime of the lease on a server collection: 1 to 3600 seconds, 45 by default.",
    server_only=True,
)
QDRANT_CA_FILE = Variable(
    "RAGCTL_QDRANT_CA_FILE",
    "File with the certificate authorities to trust for the Qdrant server, instead of the usual "
    "ones (PEM).",
    "path",
    server_only=True,
)
QDRANT_CERTIFICATE = Variable(
    "RAGCTL_QDRANT_CERTIFICATE",
    "Client certificate for a Qdrant server that asks for one (PEM; it may hold the key too).",
    "path",
    server_only=True,
)
QDRANT_CERTIFICATE_KEY = Variable(
    "RAGCTL_QDRANT_CERTIFICATE_KEY",
    "File with the private key of the client certificate (PEM, without a passphrase).",
    "path",
    server_only=True,
)
QDRANT_SEARCH_KEY = Variable(
    "RAGCTL_QDRANT_SEARCH_KEY",
    "API key of the Qdrant server for commands that only read (`search`, `status`, `show` …); "
    "without it the other key is used. A read-only key is enough.",
    secret=True,
    carried=False,
    server_only=True,
)
RAGCTL_QDRANT_API_KEY = Variable(
    "RAGCTL_QDRANT_API_KEY",
    "API key of the Qdrant server; takes precedence over `QDRANT_API_KEY`.",
    secret=True,
    carried=False,
    server_only=True,
)
QDRANT_API_KEY = Variable(
    "QDRANT_API_KEY",
    "API key of the Qdrant server.",
    secret=True,
    carried=False,
    server_only=True,
)
PDF_PASSWORD = Variable(
    "RAGCTL_PDF_PASSWORD", "Password of encrypted PDF files.", secret=True, carried=False
)
FASTEMBED_CACHE_PATH = Variable(
    "FASTEMBED_CACHE_PATH",
    "Folder for the models of the `fastembed` backend; default: the user's cache folder.",
    "path",
)
HF_HOME = Variable("HF_HOME", "Folder for models downloaded from the Hugging Face hub.", "path")
HF_HUB_OFFLINE = Variable(
    "HF_HUB_OFFLINE", "`1`: use downloaded models only, do not contact the Hugging Face hub."
)
XDG_DATA_HOME = Variable("XDG_DATA_HOME", "Parent folder of the default store.", "path")
XDG_CONFIG_HOME = Variable(
    "XDG_CONFIG_HOME", "Parent folder of the default configuration and of systemd units.", "path"
)
XDG_STATE_HOME = Variable(
    "XDG_STATE_HOME",
    "Parent folder of the lock files for server collections and of the records of runs.",
    "path",
)
XDG_CACHE_HOME = Variable("XDG_CACHE_HOME", "Parent folder of the default model cache.", "path")
SSL_CERT_FILE = Variable("SSL_CERT_FILE", "File with the certificate authorities to trust.", "path")
HTTPS_PROXY = Variable(
    "HTTPS_PROXY",
    "Proxy for https requests; it may hold a password, so set it in the crontab yourself.",
    carried=False,
)
PATH = Variable(
    "PATH",
    "Where programs are looked up; carried if a `key_command` is not found without it.",
    "paths",
    carried=False,
)
PYTHONPATH = Variable("PYTHONPATH", "Where Python looks for packages.", "paths")

VARIABLES: tuple[Variable, ...] = (
    HOME,
    CONFIG,
    LOG_FORMAT,
    LEASE_SECONDS,
    QDRANT_CA_FILE,
    QDRANT_CERTIFICATE,
    QDRANT_CERTIFICATE_KEY,
    QDRANT_SEARCH_KEY,
    RAGCTL_QDRANT_API_KEY,
    QDRANT_API_KEY,
    PDF_PASSWORD,
    FASTEMBED_CACHE_PATH,
    HF_HOME,
    HF_HUB_OFFLINE,
    XDG_DATA_HOME,
    XDG_CONFIG_HOME,
    XDG_STATE_HOME,
    XDG_CACHE_HOME,
    SSL_CERT_FILE,
    HTTPS_PROXY,
    PATH,
    PYTHONPATH,
)
SERVER_KEYS: tuple[Variable, ...] = (RAGCTL_QDRANT_API_KEY, QDRANT_API_KEY)
"""Variables that may hold the Qdrant server's API key; the first that is set is used."""


def first_set(environ: Mapping[str, str], variables: tuple[Variable, ...]) -> Variable | None:
    """Return the first of `variables` whose value in `environ` is not blank."""
    return next((each for each in variables if each.value(environ).strip()), None)
