import base64
import gzip
import hashlib
import random
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from ragctl.chunking import count, tokens
from ragctl.chunking.tokens import MAX_PIECE_CHARACTERS, TokenMap, encode, pieces
from tests.chunking_texts import record_encoded_lengths

pytestmark = pytest.mark.slow

MIXED = (
    "Don't panic: 3,141 people (and 59 dogs) said «хорошо, пойдём!» at 10:45.\n\n"
    "\tif x != y:\n        return [a/b for b in c]\n\n你好，世界。今天是2026年。\n"
    "مرحبا بالعالم، كيف حالك؟ हिन्दी में लिखा वाक्य। Straße, Äpfel… 🙂👨‍👩‍👧 é \u0301 /usr//bin\n/x\n"
    "THE_END.  <|endoftext|> 「はい」と言った。\u3000ok\u00a0nbsp\r\nwin ...!!\n\n\n- item's\n"
)


def published_ranks() -> bytes:
    """Return the rank file as published."""
    return b"".join(
        b"%s %d\n" % (base64.b64encode(token), rank)
        for rank, token in enumerate(tokens.vocabulary())
    )


def test_packaged_ranks_equal_the_published_ranks() -> None:
    assert hashlib.sha256(published_ranks()).hexdigest() == tokens.RANKS_SHA256
    packed = files("ragctl.chunking").joinpath(tokens.RANKS).read_bytes()
    assert gzip.decompress(tokens.pack(tokens.vocabulary())) == gzip.decompress(packed)


def test_the_encoding_equals_that_of_tiktoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    # tiktoken looks here for a download, named by the hash of its URL, and checks the content.
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(published_ranks())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    reference_data = openai_public.o200k_base()
    assert reference_data["pat_str"] == tokens.PATTERN
    assert reference_data["special_tokens"] == tokens.SPECIAL_TOKENS
    assert reference_data["name"] == tokens.ENCODING
    reference = tiktoken.Encoding(**reference_data)
    assert reference.encode_ordinary(MIXED) == encode(MIXED).tolist()
    lengths = tokens.byte_lengths()
    assert all(
        lengths[rank] == len(token) for token, rank in reference_data["mergeable_ranks"].items()
    )


def test_encoding_is_loaded_once() -> None:
    assert tokens.encoding() is tokens.encoding()


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, ragctl.chunking; print(*sorted({'numpy', 'tiktoken'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_special_tokens_in_a_text_are_ordinary_text() -> None:
    assert count("<|endoftext|>") > 1
    assert not set(encode("a <|endoftext|> b").tolist()) & set(tokens.SPECIAL_TOKENS.values())


def test_empty_and_long_texts_are_counted() -> None:
    assert count("") == 0
    long = MIXED * 900
    assert len(long) > 3 * MAX_PIECE_CHARACTERS
    assert count(long) == len(tokens.encoding().encode_ordinary(long))


@pytest.mark.parametrize("run", ["a", " ", "\n", "中", "1", "-", "\u0301"])
def test_a_text_without_seams_gets_at_most_one_extra_token_per_piece(run: str) -> None:
    text = run * (MAX_PIECE_CHARACTERS + 1000)
    true = len(tokens.encoding().encode_ordinary(text))
    assert true <= count(text) <= true + 2


def test_pieces_cover_the_text_and_end_at_seams() -> None:
    text = MIXED * 900
    spans = list(pieces(text))
    assert [start for start, _, _ in spans] == [0, *(end for _, end, _ in spans[:-1])]
    assert spans[-1][1] == len(text)
    assert all(at_seam and end - start <= MAX_PIECE_CHARACTERS for start, end, at_seam in spans)


def test_the_token_map_has_the_start_of_every_token() -> None:
    whole = TokenMap(MIXED)
    assert whole.total == len(encode(MIXED)) == len(whole.starts)
    positions = np.arange(len(MIXED) + 1)
    assert whole.at_all(positions).tolist() == [
        whole.at(position) for position in positions.tolist()
    ]
    # A seam is a token boundary: the tokens before it are those of the text before it.
    for seam in tokens.SEAM.finditer(MIXED):
        assert whole.at(seam.end()) == count(MIXED[: seam.end()])


texts = st.lists(
    st.one_of(
        st.sampled_from([*MIXED.split(" "), "\n", "\n\n", " ", "  ", "\t", "'s", ".", "/", "中文"]),
        st.text(max_size=8),
    ),
    max_size=120,
).map("".join)


@given(text=texts, rng=st.randoms(use_true_random=False))
def test_exact_counts_the_tokens_of_any_span(text: str, rng: random.Random) -> None:
    whole = TokenMap(text)
    for _ in range(8):
        start = rng.randint(0, len(text))
        end = len(text[: rng.randint(start, len(text))].rstrip())
        if start < end:
            assert whole.exact(start, end) == count(text[start:end])


def test_exact_counts_long_spans_and_encodes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded_lengths = record_encoded_lengths(monkeypatch)
    text = MIXED * 400 + "z" * (MAX_PIECE_CHARACTERS + 50_000) + MIXED * 400
    whole = TokenMap(text)
    assert sum(encoded_lengths) == len(text)
    generator = random.Random(3)
    encoded_lengths.clear()
    for _ in range(400):
        start = generator.randrange(len(MIXED) * 390)
        end = len(text[: start + generator.randint(800, 3000)].rstrip())
        assert whole.exact(start, end) == len(encode(text[start:end]))
    assert encoded_lengths
    assert sum(encoded_lengths) < 400 * 60
    run = len(MIXED) * 400
    start, end = run - 40, run + MAX_PIECE_CHARACTERS + 20_000
    assert whole.exact(start, end) == len(encode(text[start:end]))
