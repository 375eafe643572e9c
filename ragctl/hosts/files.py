"""A client that also sends and fetches files: batch APIs take and answer JSON Lines.

Files are streamed, so memory does not depend on their size.
"""

from typing import IO, TYPE_CHECKING, Any

from ragctl.errors import BackendError
from ragctl.hosts.errors import Transient
from ragctl.hosts.http import MAX_RESPONSE_BYTES, HostClient
from ragctl.hosts.responses import Response

if TYPE_CHECKING:
    import httpx

NOT_FOUND = 404


class NotFound(BackendError):
    """The host has nothing at this address: a job or a file is gone, or was never there."""


class FileClient(HostClient):
    """A HostClient for a batch API. Only single reads and writes are limited in time."""

    def upload(self, path: str, file: IO[bytes], name: str, fields: dict[str, str]) -> object:
        """Send a file as multipart/form-data, from its start; return the JSON of the answer.

        Raises Transient, Refused or BackendError.
        """
        file.seek(0)
        parts = {"file": (name, file, "application/jsonl")}
        return self._parser.parse(self._stream("POST", path, data=fields, files=parts))

    def send(
        self, path: str, body: "IO[bytes] | bytes", headers: dict[str, str]
    ) -> tuple[object, dict[str, str]]:
        """Send a raw body with its own headers; return the JSON and the headers of the answer."""
        if not isinstance(body, bytes):
            body.seek(0)
        response = self._stream("POST", path, content=body, headers=headers)
        answer = self._parser.parse(response) if response.content.strip() else {}
        return answer, {name.lower(): value for name, value in response.headers.items()}

    def download(self, path: str, target: IO[bytes]) -> None:
        """Write the content of a file to `target`, from its start. Raises NotFound too."""
        target.seek(0)
        target.truncate()
        self._stream("GET", path, sink=target)

    def find(self, path: str) -> object:
        """Return the JSON at `path`, which may describe a job that failed.

        Raises NotFound if there is nothing, and as `get` does.
        """
        return self._parser.parse(self._stream("GET", path), error_fails=False)

    def delete(self, path: str) -> None:
        """Delete what is at `path`. Raises NotFound too."""
        self._stream("DELETE", path)

    def _stream(self, method: str, path: str, **content: Any) -> Response:
        """Send one request; return its response. Raises NotFound, and Transient if it got none."""
        outcome = self._exchange_stream(self._open_client(), method, path, **content)
        if isinstance(outcome, BackendError):
            raise outcome
        if outcome.status == NOT_FOUND:
            try:
                self._parser.parse(outcome)
            except BackendError as error:
                raise NotFound(str(error)) from None
        if outcome.status != 200:
            self._parser.parse(outcome)
        return outcome

    def _exchange_stream(
        self,
        client: "httpx.Client",
        method: str,
        path: str,
        sink: IO[bytes] | None = None,
        **content: Any,
    ) -> Response | BackendError:
        """Return the response, or the error for the caller to raise: see HostClient._send."""
        import httpx

        url = path if path.startswith(("http://", "https://")) else self._url + path
        answered = False
        try:
            with client.stream(method, url, **content) as response:
                answered = True
                body = bytearray()
                store = sink is not None and response.status_code == 200
                for part in response.iter_bytes():
                    if store and sink is not None:
                        sink.write(part)
                        continue
                    body += part
                    if len(body) > MAX_RESPONSE_BYTES:
                        limit = MAX_RESPONSE_BYTES >> 20
                        return BackendError(f"{self.host} answered more than {limit} MB")
                status = 200 if response.status_code in (201, 202, 204) else response.status_code
                return Response(status, response.headers, self._mask_key(body))
        except httpx.TimeoutException as error:
            connected = not isinstance(error, httpx.ConnectTimeout)
            kind = "no answer" if connected else "no connection"
            return Transient(f"{self.host}: {kind} in time", answered=answered, timed_out=connected)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            refused = isinstance(error, httpx.ConnectError)
            return Transient(f"{self.host}: {reason}", answered=answered, refused=refused)
