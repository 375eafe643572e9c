"""The hashes of a job in its note, and the texts and results of a run on disk."""

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.batch.canaries import CanaryCheck, canary_lines, is_canary
from ragctl.batch.keys import KEY_BYTES, KeySet, encode_keys
from ragctl.batch.service import Result
from ragctl.batch.spool import Spool, SpooledText
from ragctl.embedding.canary import DOCUMENTS, Canary

HASHES = st.binary(min_size=16, max_size=16).map(bytes.hex)


@given(st.sets(HASHES, max_size=50), HASHES)
def test_a_note_has_the_hashes_of_its_job(hashes: set[str], other: str) -> None:
    encoded = encode_keys(hashes)
    keys = KeySet(encoded)
    assert all(each in keys for each in hashes)
    prefixes = {each[: 2 * KEY_BYTES] for each in hashes}
    assert (other in keys) == (other[: 2 * KEY_BYTES] in prefixes)
    assert len(keys) == len(prefixes)
    assert len(encoded) <= 4 * (len(hashes) * KEY_BYTES // 3 + 1)


@pytest.mark.parametrize("text", ["no base64", "AAAA"])
def test_damaged_hashes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        KeySet(text)


def test_the_spool_keeps_order_and_one_text_of_each_hash() -> None:
    with closing(Spool()) as spool:
        for name in ("b", "a", "b", "c"):
            spool.add_text(SpooledText(name * 32, f"text {name}", 1))
        assert [text.hash[0] for text in spool.texts()] == ["b", "a", "c"]
        spool.drop_texts(["a" * 32])
        assert spool.text_count == 2
        names = [f"{n:032x}" for n in range(1200)]  # more than one query
        for name in names:
            spool.add_result(name, np.full(4, 0.5, np.float32), None)
        assert set(spool.results(names)) == spool.known_results(names) == set(names)


def test_a_vector_is_kept_before_an_error() -> None:
    vector = np.array([1, 0], np.float32)
    with closing(Spool()) as spool:
        for name, order in (("a" * 32, (vector, None)), ("b" * 32, (None, vector))):
            for each in order:
                spool.add_result(name, each, None if each is not None else "failed")
        assert all(isinstance(v, np.ndarray) for v in spool.results(["a" * 32, "b" * 32]).values())


@given(st.integers(min_value=1, max_value=60_000))
def test_a_job_has_canary_texts_from_its_beginning_on(texts: int) -> None:
    lines = canary_lines(texts)
    assert 0 in lines
    assert {text for _, text in lines.values()} == set(DOCUMENTS)
    keys = [key for key, _ in lines.values()]
    assert len(set(keys)) == len(keys)
    assert all(map(is_canary, keys))
    assert len(lines) <= max(3, texts // 500)


def test_one_canary_text_is_enough_and_none_is_not() -> None:
    rows = np.eye(3, 8, dtype=np.float32)
    check = CanaryCheck(Canary(rows, rows[:1]))
    problem = check.problem(0.99)
    assert problem is not None
    assert "no canary text has a vector" in problem
    check.add(Result("canary-1-7", rows[1]))
    assert check.problem(0.99) is None
    check.add(Result("canary-2-8", rows[1]))
    problem = check.problem(0.99)
    assert problem is not None
    assert "another model works there" in problem
