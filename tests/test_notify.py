"""Webhooks, against a real receiver: retries, time limits, and no secret in any message."""

import socket

import httpx  # noqa: F401 - imported before the clock of a test runs
import pytest

from ragctl.notify import send
from ragctl.pipeline import Reporting
from tests.servers.hooks import TRICKLE, Hooks
from tests.waiting import within

pytestmark = pytest.mark.slow

BODY = b"{}"
SECRET = "s3cret-t0ken"


@pytest.mark.parametrize(
    ("answers", "calls", "expected"),
    [
        ([503, 429], 3, None),
        ([500, 502, 503], 3, "answered 503"),
        ([404], 1, "answered 404"),
        ([302], 1, "answered 302, a redirect, which is not followed"),
        ([307], 1, "answered 307, a redirect, which is not followed"),
    ],
)
def test_transient_failures_are_retried(
    answers: list[int], calls: int, expected: str | None
) -> None:
    with Hooks(answers) as hooks:
        reason = send(f"{hooks.url}/{SECRET}", BODY, pauses=(0, 0))
    assert hooks.paths == [f"/{SECRET}"] * calls
    assert reason == (None if expected is None else f"http://127.0.0.1: {expected}")


def test_an_answer_that_trickles_in_does_not_delay_the_run() -> None:
    limit = within(0.5)
    with Hooks([TRICKLE, TRICKLE]) as hooks:
        reason = send(hooks.url, BODY, seconds=limit, pauses=(0,))
    assert reason == f"http://127.0.0.1: no answer within {limit:g} s"
    assert len(hooks.paths) == 2


def test_reasons_show_only_the_host_of_the_url() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        port = taken.getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}/{SECRET}?{SECRET}",
            f"http://{SECRET}:{SECRET}@127.0.0.1:{port}/",
            f"hooks.example.com/{SECRET}",
            f"ftp://127.0.0.1/{SECRET}",
            f"http:///{SECRET}",
            f"http://127.0.0.1:{SECRET}/",
            f"http://[{SECRET}/",
            f"http://127.0.0.1:{port}/\r\n{SECRET}",
            f"http://127.0.0.1:{port}/\udcff{SECRET}",
            f"http://{'a' * 70}.test/{SECRET}",
        ):
            reason = send(url, BODY, pauses=(0, 0))
            assert reason is not None, url
            assert SECRET not in reason
            assert repr(Reporting(on_failure=url)).count(SECRET) == 0
