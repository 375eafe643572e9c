"""Sets of text hashes in a few bytes each, as a collection's notes keep them.

Of each hash its first KEY_BYTES are kept. A text that is not in a job seems to be in it with a
probability of 2**-40 for each text of the job. It then waits until that job has ended, and is
sent after that.
"""

import base64
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 5
_HEX = 2 * KEY_BYTES


def encode_keys(hashes: Iterable[str]) -> str:
    """Return text hashes (hexadecimal) as base64 of their first bytes, sorted."""
    keys = np.array(sorted({int(each[:_HEX], 16) for each in hashes}), dtype=">u8")
    first = 8 - KEY_BYTES
    return base64.b64encode(keys.view(np.uint8).reshape(-1, 8)[:, first:].tobytes()).decode()


class KeySet:
    """The text hashes of a job."""

    def __init__(self, encoded: str) -> None:
        """Read what `encode_keys` returned. Raises ValueError if it is damaged."""
        raw = np.frombuffer(base64.b64decode(encoded, validate=True), np.uint8)
        if len(raw) % KEY_BYTES:
            raise ValueError(f"the keys are not of {KEY_BYTES} bytes each")
        wide = np.zeros((len(raw) // KEY_BYTES, 8), np.uint8)
        wide[:, 8 - KEY_BYTES :] = raw.reshape(-1, KEY_BYTES)
        self._keys: NDArray[np.uint64] = np.sort(wide.reshape(-1).view(">u8").astype(np.uint64))

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, text_hash: str) -> bool:
        if not len(self._keys):
            return False
        key = np.uint64(int(text_hash[:_HEX], 16))
        at = int(np.searchsorted(self._keys, key))
        return at < len(self._keys) and bool(self._keys[at] == key)
