"""The certification of one backend, and the vectors of the one that it is compared with."""

from collections.abc import Sequence
from dataclasses import replace

from ragctl.catalog import Backend, BackendConfig
from ragctl.check.certify import properties, texts
from ragctl.check.certify.case import Case
from ragctl.check.certify.diagnosis import diagnose, misplaced, settled
from ragctl.check.certify.evidence import Evidence, Sender, collect, collect_excess
from ragctl.check.certify.facts import server_facts
from ragctl.check.certify.properties import PROPERTIES
from ragctl.check.certify.reference import Reference, variants_of
from ragctl.check.findings import CertificateReport, failed, skipped
from ragctl.check.trial import Trial, TrialSettings, cut_cosine
from ragctl.embedding import Canary, canary
from ragctl.embedding.failover import ConnectedBackend
from ragctl.embedding.faults import FaultyBackend
from ragctl.records import Notify


class ReferenceTrial(Trial):
    """Asks a backend for the canary texts, to compare another one with it. Use an instance once."""

    reference: Reference | None = None

    def _examine(self, row: Backend, backend: ConnectedBackend) -> None:
        self._begin("canary")
        vectors = canary.make_canary(backend.service, self._stopped)
        self._report = replace(self._report, canary=vectors)
        self.reference = Reference(
            self._report.label,
            vectors,
            variants_of(backend.wire, self._settings.model, vectors),
            server_facts(backend.wire, self._settings.model).revision,
        )


class Certification(Trial):
    """Tests every property of a backend. Use an instance once."""

    def __init__(
        self,
        settings: TrialSettings,
        name: str,
        config: BackendConfig,
        references: Sequence[Reference],
        chunk_size: int | None,
        notify: Notify,
    ) -> None:
        """`chunk_size`: tokens of the longest chunk. `notify` is told what it will cost."""
        super().__init__(settings, name, config)
        self._references = tuple(references)
        self._chunk_size = chunk_size
        self._notify = notify

    def _examine(self, row: Backend, backend: ConnectedBackend) -> None:
        settings = self._settings
        served = row.models[settings.model.name]
        limits = (settings.model.context, served.context)
        context = min((limit for limit in limits if limit), default=None)
        words = texts.tail_words(settings.model, context, self._chunk_size)
        asked = settings.model.matryoshka and row.cuts_to(settings.model.name, settings.dim)
        self._state_cost(row, context, words, whole=asked and not row.in_process)
        sender = Sender(backend, self._stopped, self._begin)
        try:
            evidence = collect(sender, settings.model, words, compared=bool(self._references))
            if asked and evidence.length == settings.dim < settings.model.dim:
                self._collect_cut(row, sender, evidence)
        except FaultyBackend as fault:
            self._add_fault(fault)
            return
        finally:
            self._count(sender)
        self._judge(row, sender, evidence, context, asked)
        self._count(sender)

    def _judge(
        self, row: Backend, sender: Sender, evidence: Evidence, context: int | None, asked: bool
    ) -> None:
        """Compare the answers with the references and add a finding for each property."""
        settings = self._settings
        moved: dict[int, int] = {}
        for reference in (*self._references, None):
            moved |= misplaced(evidence, reference, settings.threshold)
        documents = settled(evidence, moved)
        diagnoses = tuple(
            diagnose(evidence, documents, reference, settings.model, settings.threshold, sender.ask)
            for reference in self._references
        )
        collect_excess(sender, evidence, context)
        case = Case(
            *(settings.model, row, settings.dim, context, asked, evidence, self._references),
            *(diagnoses, moved, settings.threshold, settings.options.truncate),
        )
        self._add(*properties.certificate(case))
        cosines = {each.reference: (min(each.documents), each.query) for each in diagnoses}
        assert self._report.certificate is not None
        self._report = replace(
            self._report,
            canary=Canary(evidence.batch[: len(canary.DOCUMENTS)], evidence.query),
            agreement=cosines.get("the collection"),
            certificate=replace(self._report.certificate, cosines=cosines),
        )

    def _state_cost(self, row: Backend, context: int | None, words: int, *, whole: bool) -> None:
        """Tell what will be sent, and keep it for the report."""
        tokens = texts.estimate(self._settings.model, context, words, whole=whole)
        price = 0.0 if row.in_process else row.models[self._settings.model.name].price
        cost = None if price is None else tokens * price / 1e6
        amount = "its price is unknown" if cost is None else f"${cost:.6f}"
        self._report = replace(self._report, certificate=CertificateReport(tokens, cost))
        self._notify(
            f"{self._report.name}: sending at most {texts.MAX_TEXTS} texts, about {tokens:,} "
            f"tokens ({amount})"
        )

    def _count(self, sender: Sender) -> None:
        assert self._report.certificate is not None
        sent = replace(
            self._report.certificate,
            texts=sender.texts,
            requests=sender.requests,
            tokens=sender.tokens,
        )
        self._report = replace(self._report, certificate=sent)

    def _collect_cut(self, row: Backend, sender: Sender, evidence: Evidence) -> None:
        """Ask for the whole vector of a text, and cut it here."""
        model, dim = self._settings.model, self._settings.dim
        if row.in_process or not sender.left:
            return
        with self._connected(model.dim) as backend:
            sender.backend, own = backend, sender.backend
            try:
                whole = sender.send("dimension", "document", texts.BATCH[0]).vectors
            finally:
                sender.backend = own
        vector = evidence.alone.get(0, evidence.batch[0])
        evidence.cut = cut_cosine(vector, whole, dim, model)

    def _add_fault(self, fault: FaultyBackend) -> None:
        """Add the findings of a backend whose answers cannot be used at all."""
        for what in PROPERTIES:
            if what == fault.fault:
                self._add(failed(what, fault))
            else:
                self._add(skipped(what, f"the answers cannot be used, see {fault.fault}"))


def collection_reference(stored: Canary) -> Reference:
    """Return the canary of a collection as a reference."""
    return Reference("the collection", stored)
