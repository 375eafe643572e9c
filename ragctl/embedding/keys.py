"""Keys: from the environment or from a program that prints them; never from a file of settings."""

import subprocess
from collections.abc import Mapping, Sequence

from ragctl.catalog import Provider
from ragctl.errors import BackendError

_SECONDS = 60.0  # for a key command, which may ask its user something


class Key:
    """A secret. Prints as the name of where it came from only."""

    __slots__ = ("_secret", "variable")

    def __init__(self, variable: str, secret: str) -> None:
        """`variable` is the environment variable, or the name of the program, it came from."""
        self.variable = variable
        self._secret = secret.strip()
        if not (self._secret.isascii() and self._secret.isprintable()) or " " in self._secret:
            # Told apart here: further down the error would quote the whole header.
            raise BackendError(f"the value of {variable} has characters that no key has")

    def reveal(self) -> str:
        return self._secret

    def __repr__(self) -> str:
        return f"<key from {self.variable}>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")


def find(provider: Provider, environ: Mapping[str, str]) -> Key | None:
    """Return the provider's key: its command's first, else that of its first variable that is set.

    Raises BackendError where a key is needed and there is none, or the command fails.
    """
    if provider.key_command:
        return _printed(provider.key_command, environ)
    for variable in provider.keys:
        if environ.get(variable, "").strip():
            return Key(variable, environ[variable])
    if provider.key_required:
        raise BackendError(f"{provider.name} needs a key: set {provider.keys[0]}")
    return None


def _printed(command: Sequence[str], environ: Mapping[str, str]) -> Key:
    """Return the first line that a program prints. Nothing it prints is ever shown."""
    name = f"the key command {command[0]!r}"
    try:
        ran = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=dict(environ),
        )
    except OSError as error:
        raise BackendError(f"{name} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BackendError(f"{name} did not end within {_SECONDS:.0f} s") from None
    except UnicodeDecodeError:
        raise BackendError(f"{name} printed something that is no text") from None
    line = ran.stdout.strip().partition("\n")[0]
    if ran.returncode != 0 or not line:
        raise BackendError(
            f"{name} ended with status {ran.returncode} and printed "
            f"{'something' if line else 'no key'}; run it by hand to see why"
        )
    return Key(name, line)
