"""Faults of a backend that show in its answers, each by a name."""

from typing import Literal

from ragctl.errors import BackendError

FaultName = Literal["dimension", "padding", "order", "model", "pooling"]


class FaultyBackend(BackendError):
    """A backend's answer shows that it is set up wrongly; `fault` names how."""

    def __init__(self, fault: FaultName, message: str) -> None:
        super().__init__(message)
        self.fault = fault
