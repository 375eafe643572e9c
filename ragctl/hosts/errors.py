"""The errors of one request, by which retry and failover decide what to do next."""

from ragctl.errors import BackendError


class Transient(BackendError):
    """A failure that may pass: another try may succeed.

    `retry_after`: how many seconds the host asks to wait, None if it does not say.
    `throttled`: the host is overloaded or a rate limit is reached. `answered`: whether the
    host answered at all. `timed_out`: the host took the request and did not answer in time;
    it may still be working on it. `status`: of its answer, if it had one. `refused`: this
    machine refused the connection: nothing listens there.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        throttled: bool = False,
        answered: bool = True,
        timed_out: bool = False,
        status: int | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.throttled = throttled
        self.answered = answered
        self.timed_out = timed_out
        self.status = status
        self.refused = refused


class Refused(BackendError):
    """The host does not answer this request because of its texts: of one, or of their number.

    `certain`: the texts are known to be the reason; otherwise it may be a parameter.
    `max_texts`: how many texts the host takes in one request, if it says so. `backend`: the
    name of the backend, once known.
    """

    def __init__(self, message: str, certain: bool = False, max_texts: int | None = None) -> None:
        super().__init__(message)
        self.certain = certain
        self.max_texts = max_texts
        self.backend: str | None = None
