"""The properties of a backend, in the order of their findings."""

from collections.abc import Callable

from ragctl.check.certify.answer_properties import (
    batch,
    dimension,
    norm,
    order,
    padding,
    prompt,
    task,
    truncation,
)
from ragctl.check.certify.case import Case
from ragctl.check.certify.compared_properties import eos, model, pooling, quantisation, revision
from ragctl.check.findings import Finding

PROPERTIES: dict[str, Callable[[Case], Finding]] = {
    test.__name__: test
    for test in (
        *(dimension, padding, norm, order, batch, truncation, task, prompt),
        *(eos, pooling, quantisation, model, revision),
    )
}
"""Every property by the name of its finding."""


def certificate(case: Case) -> list[Finding]:
    """Return the findings on all properties, in a fixed order."""
    return [test(case) for test in PROPERTIES.values()]
