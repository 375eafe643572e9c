"""Findings on what shows in a comparison: one function for each property."""

from ragctl.check.certify import thresholds
from ragctl.check.certify.case import Case, compared, fault, mismatch
from ragctl.check.findings import Finding, failed, good, note, skipped
from ragctl.errors import IdentityMismatch


def eos(case: Case) -> Finding:
    """Judge whether the token that ends a text is read."""
    remedy = "use the model's own tokenizer files, or convert the weights again"
    found = case.with_cause("eos")
    if found is not None:
        return mismatch(case, "eos", found, remedy, "the token that ends each text is missing")
    if case.evidence.facts.ending is False:
        return fault(
            "eos",
            f"the token that ends each text is missing, as the server's /tokenize shows: {remedy}",
        )
    if case.evidence.facts.ending:
        return good("eos", "each text ends with its token, as the server's /tokenize shows")
    return compared(case, "eos")


def pooling(case: Case) -> Finding:
    """Judge whether token vectors are pooled as the model was trained."""
    found, stated = case.with_cause("pooling"), case.evidence.facts.pooling
    remedy = f"set the server's pooling to {case.model.pooling}"
    if found is not None:
        return mismatch(case, "pooling", found, remedy)
    if stated is not None and case.model.pooling in ("mean", "cls", "last"):
        if stated != case.model.pooling:
            return fault("pooling", f"wrong: {stated}, as the server says; {remedy}")
        if not case.references:
            return good("pooling", f"{stated}, as the server says")
    return compared(case, "pooling")


def quantisation(case: Case) -> Finding:
    """Judge whether the weights are rounded too coarsely for the canary limit."""
    stated = case.evidence.facts.weights
    types = f"; the server says {stated}" if stated else ""
    found = case.with_cause("quantisation")
    if found is not None:
        return mismatch(
            case,
            "quantisation",
            found,
            f"load weights of 8 bits or more{types}",
            "beyond the limit",
        )
    lowest = min((each.lowest for each in case.diagnoses), default=1.0)
    if case.references and case.difference is None and lowest < thresholds.SAME_WEIGHTS:
        return note(
            "quantisation",
            f"close to the vectors of {case.compared}, not the same (cosine {lowest:.4f}; the "
            f"limit is {case.limit:g}): rounded weights{types}",
        )
    return compared(case, "quantisation", types)


def model(case: Case) -> Finding:
    """Judge whether the backend runs this model."""
    found = case.with_cause("model")
    if found is not None:
        return mismatch(
            case,
            "model",
            found,
            f"check what the server has loaded as {case.model.name}",
            "another model",
        )
    difference = case.difference
    if difference is not None:
        return good("model", f"the vectors are related to those of {difference.reference}")
    return compared(case, "model")


def revision(case: Case) -> Finding:
    """Judge whether the weights are those of the expected revision."""
    stated, expected = case.evidence.facts.revision, case.model.revision
    found = case.with_cause("revision")
    if found is not None:
        return mismatch(case, "revision", found, "load the expected revision", "changed")
    known = [expected, *(each.revision for each in case.references)]
    others = [each for each in known if each is not None and each != stated]
    if stated is not None and others:
        if case.references and case.difference is None:
            return note(
                "revision",
                f"{stated} instead of {others[0]}, with the same vectors as {case.compared}",
            )
        return failed(
            "revision",
            IdentityMismatch(
                f"changed: the server says {stated}, and {others[0]} is expected. Load that one"
            ),
        )
    if stated is not None and any(known):
        return good("revision", f"{stated}, as the server says")
    says = "the backend does not say which it has" if stated is None else f"it is {stated}"
    if case.references:
        return compared(case, "revision")
    return skipped("revision", f"{says}, and there is nothing to compare with")
