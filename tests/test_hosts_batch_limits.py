"""The number of texts that a host takes, read from the messages of real hosts."""

import pytest

from ragctl.hosts.batch_limits import stated_batch_limit


@pytest.mark.parametrize(
    ("message", "texts", "limit"),
    [
        ("batch size is invalid, it should not be larger than 10.: input.contents", 30, 10),
        ("batch size 33 > maximum allowed batch size 32", 33, 32),
        ("array too long. Expected an array with maximum length 2048, but got 3000", 3000, 2048),
        ("The batch size limit is 1000. Your batch size is 2000.", 2000, 1000),
        ("total number of texts must be at most 96 - received 97", 97, 96),
        ("at most 100 requests can be in one batch", 200, 100),
        ("input: List should have at most 2,048 items after validation, not 3,000", 3000, 2048),
        ("Number of inputs exceeds the limit of 16", 64, 16),
        # Not a number of texts, or not one that was exceeded:
        ("This model's maximum context length is 512 tokens. You requested 612", 2048, None),
        ("Please reduce input: max total tokens 300000 per request", 2048, None),
        ("Too many inputs in request, split into more batches.", 300, None),
        ("`inputs` must have less than 256 tokens. Given: 602", 1000, None),
        ("batch size 33 > maximum allowed batch size 32", 8, None),
        ("", 8, None),
    ],
)
def test_limit_in_a_message(message: str, texts: int, limit: int | None) -> None:
    assert stated_batch_limit(message, texts) == limit
