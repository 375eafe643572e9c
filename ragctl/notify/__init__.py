"""Notifies another program: `send(url, body)` posts JSON to a webhook."""

from ragctl.notify.webhook import send

__all__ = ["send"]
