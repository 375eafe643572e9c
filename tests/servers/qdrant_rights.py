"""Who may do what on the test server: the API key, the read-only key, and signed tokens (JWT).

The checks and their texts follow the server's source code: access is checked against the name in
the request, be it a collection's name or an alias, and before the collection is looked up.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEEWAY_SECONDS = 30  # for clocks that differ

MANAGE = frozenset(
    {
        "PUT /collections/{name}",
        "PATCH /collections/{name}",
        "DELETE /collections/{name}",
        "POST /collections/aliases",
    }
)
EXTRAS = frozenset(
    {
        "PUT /collections/{name}/index",
        "DELETE /collections/{name}/index/{field}",
        "GET /collections/{name}/cluster",
        "POST /collections/{name}/cluster",
        "PUT /collections/{name}/shards",
    }
)
READS = ("/points", "/scroll", "/count", "/facet", "/query", "/query/batch", "/search")


class DeniedError(Exception):
    """A key that is refused. The body of the answer is plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ForbiddenError(Exception):
    """A request that the key does not allow; answered 403 in JSON."""


@dataclass(frozen=True)
class Access:
    """What a key allows.

    `everywhere`: "m" (manage) or "r" (read) on the whole server; None: only `collections`, by
    name "r", "rw" or "prw" (points alone).
    """

    everywhere: str | None = "m"
    collections: Mapping[str, str] = field(default_factory=dict)

    def sees(self, name: str) -> bool:
        """Return whether lists show this collection or alias."""
        return self.everywhere is not None or name in self.collections

    def check(self, route: str, name: str | None) -> None:
        """Raise ForbiddenError unless a request to this route and name is allowed."""
        writes, extras = not _only_reads(route), route in EXTRAS
        if self.everywhere is not None:
            if self.everywhere == "r" and writes:
                raise ForbiddenError("Forbidden: Global manage access is required")
            return
        if route in MANAGE:
            raise ForbiddenError("Forbidden: Global access is required")
        if name is None:
            return
        mode = self.collections.get(name)
        if mode is None:
            raise ForbiddenError(f"Forbidden: Access to collection {name} is required")
        if extras and mode == "prw":
            raise ForbiddenError(f"Forbidden: Only points access is allowed for collection {name}")
        if writes and mode == "r":
            raise ForbiddenError(f"Forbidden: Write access to collection {name} is required")
        if route in ("POST /collections/{name}/cluster", "PUT /collections/{name}/shards"):
            raise ForbiddenError("Forbidden: Manage access for this operation is required")


def _only_reads(route: str) -> bool:
    method, path = route.split(" ", 1)
    return method == "GET" or (method == "POST" and path.endswith(READS))


def access_of(headers: Any, api_key: str | None, read_only_key: str | None) -> Access:
    """Return what the key of a request allows. Raises DeniedError."""
    if api_key is None and read_only_key is None:
        return Access()
    bearer = headers.get("authorization") or ""
    given = headers.get("api-key") or (bearer[7:] if bearer.startswith("Bearer ") else None)
    if given is None:
        raise DeniedError(401, "Must provide an API key or an Authorization bearer token")
    if given == api_key:
        return Access()
    if given == read_only_key:
        return Access("r")
    if api_key is None:
        raise DeniedError(401, "Invalid API key or JWT")
    return _access_of_token(given, api_key)


def _access_of_token(given: str, secret: str) -> Access:
    try:
        signed, _, signature = given.rpartition(".")
        _, body = signed.split(".")
        claims = json.loads(_decoded(body))
        authentic = hmac.compare_digest(_decoded(signature), _signature(signed, secret))
    except (ValueError, binascii.Error):
        raise DeniedError(401, "Invalid API key or JWT") from None
    if not authentic:
        raise DeniedError(403, "InvalidSignature")
    if claims.get("exp", float("inf")) + LEEWAY_SECONDS < time.time():
        raise DeniedError(403, "ExpiredSignature")
    granted = claims.get("access", "m")
    if isinstance(granted, str):
        return Access(granted)
    return Access(None, {each["collection"]: each["access"] for each in granted})


def token(api_key: str, access: Mapping[str, str] | str, *, expires: float | None = None) -> str:
    """Return a signed token. `access`: "m" or "r", or "r", "rw" or "prw" by collection."""
    granted: object = access
    if not isinstance(access, str):
        granted = [{"collection": name, "access": mode} for name, mode in access.items()]
    claims = {"access": granted, **({} if expires is None else {"exp": int(expires)})}
    header = {"alg": "HS256", "typ": "JWT"}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{_encoded(_signature(signed, api_key))}"


def _signature(signed: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
