"""API keys: from the environment or from a program that prints them, never from a settings file.

A traceback may be shown with the variables of every frame in it. So a secret is a local
variable only in functions that raise nothing.
"""

import hashlib
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from ragctl.errors import BackendError

KEY_COMMAND_SECONDS = 60.0  # such a program may ask its user something
_SALT = secrets.token_bytes(16)


class KeySettings(Protocol):
    """The keys of a catalogue row that say where its API key comes from."""

    @property
    def name(self) -> str:
        """The name of the row."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Environment variables that may hold the key, in order of preference."""

    @property
    def key_required(self) -> bool:
        """Whether the host refuses requests without a key."""

    @property
    def key_command(self) -> tuple[str, ...]:
        """A program and its arguments that print the key; empty: none."""


class ApiKey:
    """A secret. Its repr names the variable or program that it came from, never the secret."""

    __slots__ = ("_secret", "variable")

    def __init__(self, variable: str, secret: str) -> None:
        """`variable` is the environment variable, or the program, that the key came from.

        Raises BackendError if `secret` cannot be sent in a header.
        """
        self.variable = variable
        self._secret = secret.strip()
        del secret
        if not _is_sendable(self._secret):
            # Checked here, because the HTTP client's error would quote the whole header.
            raise BackendError(f"the value of {variable} has characters that no key has")

    def reveal(self) -> str:
        """Return the secret."""
        return self._secret

    @property
    def digest(self) -> str:
        """A hash that identifies the key within this process."""
        return hashlib.blake2b(self._secret.encode(), key=_SALT).hexdigest()

    def __repr__(self) -> str:
        return f"<key from {self.variable}>"

    def __reduce__(self) -> str:
        raise TypeError("an API key cannot be pickled")


class Environment(Mapping[str, str]):
    """Environment variables, keys among them. Its repr shows only how many there are."""

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        if name not in self._variables:
            raise KeyError(name)  # raised here, because a deeper frame may hold all variables
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"<{len(self)} variables of the environment>"


def find_key(
    row: KeySettings,
    environ: Mapping[str, str],
    *,
    seconds: float = KEY_COMMAND_SECONDS,
    advice: str = "",
) -> ApiKey | None:
    """Return a row's API key: from its command, else from its first variable that is set.

    `seconds` limits the command. `advice` ends the error about a missing key.

    Raises BackendError if a key is required and there is none, or if the command fails.
    """
    environ = Environment(environ)
    if row.key_command:
        key = _run_key_command(row.key_command, environ, seconds)
        if isinstance(key, str):
            raise BackendError(f"the key command {row.key_command[0]!r} {key}")
        return key
    for variable in row.keys:
        if environ.get(variable, "").strip():
            return ApiKey(variable, environ[variable])
    if row.key_required:
        first, *others = row.keys
        also = f" (or {', '.join(others)})" if others else ""
        end = f"; {advice}" if advice else ""
        raise BackendError(f"{row.name} needs a key: set {first}{also}{end}")
    return None


def _run_key_command(command: Sequence[str], environ: Environment, seconds: float) -> ApiKey | str:
    """Return the key that a program prints in its first line, or what went wrong.

    The output is never shown.
    """
    try:
        ran = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=dict(environ),
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the command
        return f"cannot be run: {getattr(error, 'strerror', None) or error}"
    except subprocess.TimeoutExpired:
        return f"did not end within {seconds:g} s"
    if ran.returncode != 0:
        return f"ended with status {ran.returncode}; run it by hand to see why"
    line = ran.stdout.strip().partition(b"\n")[0].decode("utf-8", "replace").strip()
    if not line:
        return "printed no key; run it by hand to see why"
    if not _is_sendable(line):
        return "printed characters that no key has"
    return ApiKey(f"the key command {command[0]!r}", line)


def _is_sendable(secret: str) -> bool:
    """Return whether a header can carry `secret`: visible ASCII without spaces."""
    return secret.isascii() and secret.isprintable() and " " not in secret
