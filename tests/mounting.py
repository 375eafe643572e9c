"""Small file systems of a test's own."""

import os
import subprocess


def can_mount() -> bool:
    """Return whether a private file system can be mounted here."""
    if os.geteuid() != 0:
        return False
    asked = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
