"""The errors of one request, by which retry and failover decide what to do next."""

from ragctl.errors import BackendError


class Transient(BackendError):
    """A failure that may pass: another try may succeed.

    `retry_after`: how many seconds the host asks to wait, None if it does not say.
    `throttled`: the host is overloaded or a rate limit is reached. `answered`: whether the
    host answered at all. `status`: of its answer, if it had one.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        throttled: bool = False,
        answered: bool = True,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.throttled = throttled
        self.answered = answered
        self.status = status


class Refused(BackendError):
    """The host refused the content of the request (400, 413, 422).

    `certain`: the texts are known to be the reason; otherwise it may be a parameter.
    """

    def __init__(self, message: str, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain
