"""Failures of one request, from which retry and failover decide what comes next."""

from ragctl.errors import BackendError


class Transient(BackendError):
    """A failure that may pass: worth another try. `retry_after` is in seconds, if the host said.

    `throttled`: the host has too much to do, of ours or of others. `answered`:
    it was the host that said so; false where nothing came back from the address.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        throttled: bool = False,
        answered: bool = True,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.throttled = throttled
        self.answered = answered


class Refused(BackendError):
    """The host took the request and refused what it held (400, 413, 422).

    `certain` is true when it is known that the texts are the reason. Else it
    may as well be a parameter that the host does not like.
    """

    def __init__(self, message: str, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain
