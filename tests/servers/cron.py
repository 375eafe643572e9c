"""The real Debian cron daemon, in its own mount namespace.

The namespace has its own spool, /etc/cron.d and /usr/sbin, so that the machine's crontabs are
neither read nor changed. /usr/sbin holds the daemon and a sendmail that stores each mail as a
file.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_SENDMAIL = '#!/bin/sh\ncat > "{mail}/$$.new" && mv "{mail}/$$.new" "{mail}/$$"\n'
# Seconds. The daemon compares the spool's modification time in whole seconds and misses a change
# made in the same second as its check.
_STARTUP_PAUSE = 2.0
_MOUNTS = {
    "spool": "/var/spool/cron",
    "cron.d": "/etc/cron.d",
    "crontab": "/etc/crontab",
    "sbin": "/usr/sbin",
    "run": "/run",
}


def unavailable() -> str | None:
    """Return why cron cannot run on this machine, or None if it can."""
    if os.geteuid() != 0:
        return "cron runs as root"
    missing = [name for name in ("cron", "crontab", "unshare", "nsenter") if not _which(name)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        return "no mount namespaces here"
    return None


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cron:
    """Run cron in a context manager. `daemon=False` starts none: crontabs exist but never run."""

    def __init__(self, home: Path, *, daemon: bool = True) -> None:
        self.home = home
        self.mail = home / "mail"
        self._daemon = daemon
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("spool/crontabs", "cron.d", "sbin", "run", "mail"):
            (self.home / name).mkdir(parents=True)
        (self.home / "crontab").touch()
        crontabs = self.home / "spool" / "crontabs"
        shutil.chown(crontabs, "root", "crontab")
        crontabs.chmod(0o1730)
        program = _which("cron")
        assert program is not None
        shutil.copy(program, self.home / "sbin" / "cron")
        sendmail = self.home / "sbin" / "sendmail"
        sendmail.write_text(_SENDMAIL.format(mail=self.mail))
        sendmail.chmod(0o755)
        mounts = [f"mount --bind '{self.home / name}' {place}" for name, place in _MOUNTS.items()]
        last = "exec /usr/sbin/cron -f" if self._daemon else "exec cat"
        script = " && ".join([*mounts, "echo ready", last])
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        if self._daemon:
            time.sleep(_STARTUP_PAUSE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        with self._process:
            self._process.kill()

    def run(
        self, words: Sequence[str], *, environ: Mapping[str, str], given: bytes = b""
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command that sees these crontabs."""
        assert self._process is not None
        return subprocess.run(
            ["nsenter", "-m", "-t", str(self._process.pid), *words],
            env=environ,
            input=given,
            capture_output=True,
            check=False,
        )

    def table(self) -> bytes:
        """Return the crontab."""
        ran = self.run(["crontab", "-l"], environ=dict(os.environ))
        return ran.stdout if ran.returncode == 0 else b""

    def mails(self) -> list[str]:
        """Return the bodies of the mails sent so far."""
        files = [file for file in self.mail.iterdir() if file.suffix != ".new"]
        return [file.read_text(encoding="utf-8").partition("\n\n")[2] for file in files]
