"""Keys: from the environment or from a program that prints them; never from a file of settings.

An error's traceback may be shown with the variables of every frame in it. So a
secret is a local variable only where nothing is raised.
"""

import hashlib
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from ragctl.errors import BackendError

_SECONDS = 60.0  # for a key command, which may ask its user something
_SALT = secrets.token_bytes(16)


class Keyed(Protocol):
    """Whose key is looked for: a row of a catalogue."""

    @property
    def name(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def key_required(self) -> bool: ...
    @property
    def key_command(self) -> tuple[str, ...]: ...


class ApiKey:
    """A secret. Prints as the name of where it came from only."""

    __slots__ = ("_secret", "variable")

    def __init__(self, variable: str, secret: str) -> None:
        """`variable` is the environment variable, or the name of the program, it came from.

        Raises BackendError for what cannot be sent as a key.
        """
        self.variable = variable
        self._secret = secret.strip()
        del secret
        if not _is_key(self._secret):
            # Notify apart here: further down the error would quote the whole header.
            raise BackendError(f"the value of {variable} has characters that no key has")

    def reveal(self) -> str:
        return self._secret

    @property
    def digest(self) -> str:
        """What tells it from other keys, in this process alone."""
        return hashlib.blake2b(self._secret.encode(), key=_SALT).hexdigest()

    def __repr__(self) -> str:
        return f"<key from {self.variable}>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")


class Environment(Mapping[str, str]):
    """Variables of the environment, the keys among them. Prints as their number only."""

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        if name not in self._variables:
            raise KeyError(name)  # from a frame of ours: others may hold all the variables
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"<{len(self)} variables of the environment>"


def find_key(
    backend: Keyed, environ: Mapping[str, str], *, seconds: float = _SECONDS
) -> ApiKey | None:
    """Return the backend's key: its command's first, else that of its first variable that is set.

    A command has so many `seconds`. Raises BackendError where a key is needed
    and there is none, or the command fails.
    """
    environ = Environment(environ)
    if backend.key_command:
        printed = _printed(backend.key_command, environ, seconds)
        if isinstance(printed, str):
            raise BackendError(f"the key command {backend.key_command[0]!r} {printed}")
        return printed
    for variable in backend.keys:
        if environ.get(variable, "").strip():
            return ApiKey(variable, environ[variable])
    if backend.key_required:
        raise BackendError(f"{backend.name} needs a key: set {backend.keys[0]}")
    return None


def _printed(command: Sequence[str], environ: Environment, seconds: float) -> ApiKey | str:
    """Return the first line that a program prints, or what went wrong with it.

    Nothing it prints is ever shown.
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
    if not _is_key(line):
        return "printed characters that no key has"
    return ApiKey(f"the key command {command[0]!r}", line)


def _is_key(secret: str) -> bool:
    return secret.isascii() and secret.isprintable() and " " not in secret
