"""Findings on what shows in a backend's answers alone: one function for each property."""

from collections.abc import Mapping

import numpy as np

from ragctl.check import assess
from ragctl.check.certify import thresholds
from ragctl.check.certify.case import Case, fault, mismatch
from ragctl.check.certify.diagnosis import dependent, truncated
from ragctl.check.certify.texts import BATCH
from ragctl.check.findings import Finding, good, note, skipped


def dimension(case: Case) -> Finding:
    """Judge the length of the vectors, and who cut them."""
    length, dim, model = case.evidence.length, case.dim, case.model
    if case.asked and length != dim and not case.row.in_process and not model.layer_norm:
        return fault(
            "dimension",
            f"dropped: {length} dimensions were answered and {dim} asked for. ragctl cuts them "
            "itself; other clients would store whole vectors. A proxy may drop the field "
            "(LiteLLM: allowed_openai_params), or set dims = [] in the backend's row",
        )
    if case.evidence.cut is not None:
        found = assess.cut(case.evidence.cut, dim, model)
        return Finding(found.status, "dimension", found.text, found.code)
    if length > dim:
        return good("dimension", f"{dim} of {length}, cut here")
    return good("dimension", f"{dim}")


def padding(case: Case) -> Finding:
    """Judge whether vectors are shorter ones, padded with zeros."""
    evidence = case.evidence
    rows = np.concatenate((evidence.batch, evidence.query))
    if not case.row.is_builtin and assess.ends_in_zeros(rows):
        return fault(
            "padding",
            f"the vectors end in zeros: they are shorter than {evidence.length} and padded. Ask "
            "for fewer dimensions, or check which model the backend has under this name",
        )
    return good("padding", "the vectors do not end in zeros")


def norm(case: Case) -> Finding:
    """Judge whether vectors have unit length as received."""
    low, high = case.evidence.norms
    if max(abs(low - 1), abs(high - 1)) <= thresholds.NORM_TOLERANCE:
        return good("norm", f"{low:.4f} to {high:.4f}")
    if not case.model.normalized:
        return note("norm", f"{low:.4g} to {high:.4g}, as {case.model.name} makes them")
    return fault(
        "norm",
        f"not normalised: lengths from {low:.4g} to {high:.4g} as received. ragctl normalises "
        "them; other clients that compare by dot product rank wrongly. Turn normalisation on at "
        "the server",
    )


def order(case: Case) -> Finding:
    """Judge whether vectors come in the order of the texts."""
    if not case.evidence.together:
        return skipped("order", "the backend takes one text in a request")
    if not case.moved:
        return good("order", "the vectors have the order of the texts")
    places = ", ".join(
        f"text {text + 1} got the vector of text {place + 1}"
        for text, place in sorted(_inverted(case.moved).items())
    )
    return fault(
        "order",
        f"shuffled: {places}. Every document would get another one's vectors: do not use this "
        "backend, or send it one text in a request (limits = { texts = 1 } in its row)",
    )


def _inverted(moved: Mapping[int, int]) -> dict[int, int]:
    """Return, by place in the answer, the text whose vector it holds."""
    return {place: text for text, place in moved.items()}


def batch(case: Case) -> Finding:
    """Judge whether a text has the same vector alone and among others."""
    evidence = case.evidence
    if not evidence.together:
        return skipped("batch", "the backend takes one text in a request")
    if case.moved:
        return skipped("batch", "the order is wrong")
    differing = dependent(evidence)
    if differing:
        lowest = min(differing.values())
        return fault(
            "batch",
            f"a text has another vector alone than among {len(BATCH)} (cosine {lowest:.4f}): "
            "padding is read as text. Update the server, or send it one text in a request "
            "(limits = { texts = 1 } in its row)",
        )
    cosines = [float(evidence.batch[n] @ vector) for n, vector in evidence.alone.items()]
    return good("batch", f"a text has the same vector alone and among others ({min(cosines):.5f})")


def truncation(case: Case) -> Finding:
    """Judge whether long texts are read to their end, or refused."""
    evidence, context = case.evidence, case.context
    if evidence.tail is None:
        return note(
            "truncation",
            f"a text of {evidence.words} words is refused, not cut: {evidence.refusal}",
        )
    if truncated(evidence):
        limit = f"{case.model.name} reads {context:,} tokens" if context else "it should be read"
        return fault(
            "truncation",
            f"silent: two texts of {evidence.words} words that differ at the end have the same "
            f"vector (cosine {evidence.tail:.6f}), and {limit}. Raise the server's limit, or "
            "use a smaller --chunk-size",
        )
    read = f"a text of {evidence.words} words is read to its end"
    if evidence.excess and not case.truncates and context:
        return fault(
            "truncation",
            f"silent: {read}, and one of more than {context:,} tokens, the most that "
            f'{case.model.name} reads, is answered instead of refused. Set truncation = "cuts" '
            "in the backend's row: ragctl then counts tokens before it sends a text",
        )
    more = "; longer ones were not tried"
    if evidence.excess is not None:
        more = "; one of more tokens than the context is refused, by the backend or by ragctl"
    if evidence.excess and case.truncates:
        more = "; longer ones are truncated, as you asked for"
    return good("truncation", f"{read}{more}")


def task(case: Case) -> Finding:
    """Judge whether each side has its own task or prompt."""
    found = case.with_cause("task")
    if found is not None:
        return mismatch(case, "task", found, "use a backend with the task, or the right prompts")
    cosine = float(case.evidence.batch[-1] @ case.evidence.query[0])
    if case.moved or dependent(case.evidence):
        known = case.evidence.alone.get(len(BATCH) - 1)
        if known is None:
            return skipped("task", "the vectors of a batch cannot be used")
        cosine = float(known @ case.evidence.query[0])
    text = f"one text as document and as query (cosine {cosine:.4f})"
    document, query = (
        assess.sent_instruction(each, case.row) for each in (case.model.document, case.model.query)
    )
    if document == query:
        if cosine >= thresholds.SAME_REQUEST:
            return good("task", f"{text}: the same, as expected of {case.model.name}")
        return fault("task", f"{text} differs without a reason: the backend adds prompts")
    if cosine >= thresholds.SAME_SIDE:
        return fault(
            "task",
            f"{text}: the same, so the backend ignores the task or prompt of {case.model.name}. "
            "Searches find less: use another backend, or the model's right name there",
        )
    return good("task", f"{text} differs, as expected of {case.model.name}")


def prompt(case: Case) -> Finding:
    """Judge whether the server puts a prompt of its own in front of texts."""
    seen = case.evidence.facts.prompt
    if seen:
        return fault(
            "prompt",
            f"the server puts {seen!r} in front of every text, as its /tokenize shows: start it "
            "without a default prompt (Text Embeddings Inference: --default-prompt, "
            "--default-prompt-name)",
        )
    found = case.with_cause("prompt")
    if found is not None:
        return mismatch(case, "prompt", found, "start the server without a default prompt")
    if seen == "":
        return good("prompt", "the server puts nothing in front of a text, as its /tokenize shows")
    if case.references and case.difference is None:
        return good("prompt", f"none is added: the vectors are those of {case.compared}")
    return skipped("prompt", "the backend has no /tokenize, and there is nothing to compare with")
