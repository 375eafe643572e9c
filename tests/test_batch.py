"""Runs with `batch = true`: what is submitted, waits and is collected, and what goes wrong."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl.batch import submitter
from ragctl.catalog import BackendConfig
from ragctl.errors import BackendError, BudgetReached, IdentityMismatch, StoreError, UsageError
from ragctl.index.report import Report
from ragctl.pipeline import Budget, Embedding
from ragctl.transfer.notes import _open_jobs
from tests.servers.batch import MistralBatch, OpenAIBatch
from tests.world import World, counts, paragraphs

KEY = "sk-" + "k" * 40
HOUR = 3600.0


class BatchWorld(World):
    """A world whose runs use OpenAI's batch API. `hours` passes between runs."""

    host: OpenAIBatch
    hours = 0.0

    @property
    def embedding(self) -> Embedding:
        backend = BackendConfig("openai", base_url=self.host.url)
        return Embedding("text-embedding-3-small", 64, (backend,), batch=True, patience=2.0)

    def batch(self, **changes: object) -> Report:
        """Run once, and check that no text was ever submitted twice."""
        changes.setdefault("embedding", self.embedding)
        run = self.run(**changes)
        start = run.clock()
        run.clock = lambda: start + self.hours * HOUR
        with closing(run.store):
            try:
                return run.ingest()
            finally:
                self.last = run.report

    def synchronous(self, **changes: object) -> Report:
        return self.batch(embedding=replace(self.embedding, batch=False), **changes)

    def once(self) -> bool:
        """Return whether no text was submitted twice."""
        return len(self.host.submitted) == len(set(self.host.submitted))

    def notes(self) -> list[object]:
        with closing(self.open()) as collection:
            return list(collection.notes().get("batches", []))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BatchWorld]:
    root = tmp_path / "docs"
    root.mkdir()
    with OpenAIBatch(KEY) as host:
        made = BatchWorld(
            root,
            str(tmp_path / "store"),
            host,  # type: ignore[arg-type]
            environ={"OPENAI_API_KEY": KEY},
        )
        made.host = host
        for n in range(3):
            made.write(f"{n}.md", paragraphs(*(f"text {n} {k}" for k in range(3))))
        yield made


def test_a_run_submits_and_a_later_one_collects(world: BatchWorld) -> None:
    first = world.batch()
    assert counts(first) == {}
    assert (first.waiting.jobs, first.waiting.texts, first.waiting.documents) == (1, 9, 3)
    assert first.failures == []
    assert "3 documents waiting for 1 batch job" in str(first.waiting)
    assert len(world.host.submitted) == 9
    assert world.host.texts == []  # nothing was embedded one by one, apart from the canary

    waiting = world.batch()
    assert waiting.waiting.documents == 3
    assert waiting.tokens == 0

    world.host.work()
    collected = world.batch()
    assert counts(collected) == {"added": 3}
    assert (collected.chunks.embedded, collected.waiting.jobs) == (9, 0)
    assert world.sources() == {"docs/0.md": 3, "docs/1.md": 3, "docs/2.md": 3}
    assert world.notes() == []
    assert world.host.files == {}  # nothing of the user's stays at the host
    assert counts(world.batch()) == {"unchanged": 3}
    assert len(world.host.submitted) == 9


def test_the_vectors_are_those_of_ordinary_requests(world: BatchWorld, tmp_path: Path) -> None:
    world.batch()
    world.host.work()
    world.batch()
    other = replace(world, store=str(tmp_path / "other"))
    other.host = world.host
    other.synchronous()

    def vectors(each: BatchWorld) -> list[tuple[str, int, object]]:
        return sorted(
            (payload["source"], payload["ordinal"], dense)
            for payload, dense, _ in each.state().values()
        )

    assert vectors(world) == vectors(other)


def test_nothing_is_asked_of_the_host_when_nothing_is_to_be_done(world: BatchWorld) -> None:
    world.batch()
    world.host.work()
    world.batch()
    world.host.calls.clear()
    world.host.requests.clear()
    world.batch()
    assert (world.host.calls, world.host.requests) == ([], [])


def test_a_changed_document_stays_searchable_until_its_new_version_is_collected(
    world: BatchWorld,
) -> None:
    world.batch()
    world.host.work()
    world.batch()
    before = world.state()
    world.write("0.md", paragraphs("text 0 0", "new 0 1", "text 0 2"))
    report = world.batch()
    assert (report.waiting.documents, report.waiting.texts) == (1, 1)  # only the new text
    assert world.state() == before
    world.host.work()
    assert counts(world.batch()) == {"updated": 1, "unchanged": 2}
    assert world.once()


def test_a_document_that_changes_while_it_waits_submits_only_its_new_texts(
    world: BatchWorld,
) -> None:
    world.batch()
    world.write("0.md", paragraphs("text 0 0", "text 0 1", "changed"))
    report = world.batch()
    assert (report.waiting.jobs, report.waiting.texts) == (2, 10)
    assert len(world.host.submitted) == 10
    world.host.work()
    assert counts(world.batch()) == {"added": 3}
    assert world.sources() == {"docs/0.md": 3, "docs/1.md": 3, "docs/2.md": 3}
    assert world.once()
    assert world.notes() == []


def test_results_are_kept_while_a_document_waits_for_others(world: BatchWorld) -> None:
    world.batch()
    world.host.work()
    world.write("0.md", paragraphs("text 0 0", "text 0 1", "later"))
    report = world.batch()
    assert counts(report) == {"added": 2}
    assert report.waiting.documents == 1
    assert len(world.notes()) == 2  # the old job too: two of its texts are still wanted
    world.host.work()
    assert counts(world.batch()) == {"added": 1, "unchanged": 2}
    assert world.once()
    assert world.notes() == []


def test_removed_documents_are_forgotten_and_their_results_discarded(world: BatchWorld) -> None:
    world.batch()
    world.host.work()
    for n in range(2):
        (world.root / f"{n}.md").unlink()
    assert counts(world.batch()) == {"added": 1}
    assert world.notes() == []


def test_a_failed_text_fails_its_document_with_the_host_s_message(world: BatchWorld) -> None:
    world.write("bad.md", paragraphs("good one", "forbidden word", "good two"))
    world.host.forbidden["forbidden"] = 400
    world.batch()
    world.host.work()
    report = world.batch()
    assert counts(report) == {"added": 3, "failed": 1}
    (failure,) = report.failures
    assert failure.source == "docs/bad.md"
    assert "a text contains forbidden" in failure.error
    assert "characters " in failure.error
    # Its other texts are paid for. When the bad one is gone, nothing but the new text is sent.
    world.write("bad.md", paragraphs("good one", "better word", "good two"))
    submitted = len(world.host.submitted)
    world.batch()
    assert len(world.host.submitted) == submitted + 1
    world.host.work()
    assert counts(world.batch()) == {"added": 1, "unchanged": 3}


def test_a_failed_text_is_sent_again_when_its_document_is_retried(world: BatchWorld) -> None:
    world.write("bad.md", paragraphs("good one", "flaky word"))
    world.host.forbidden["flaky"] = 500
    world.batch()
    world.host.work()
    world.batch()
    world.host.forbidden.clear()
    assert world.batch().waiting.documents == 1
    world.host.work()
    assert counts(world.batch()) == {"added": 1, "unchanged": 3}
    assert sorted(world.host.submitted).count(world.host.submitted[-1]) == 2
    assert len(world.host.submitted) == 12


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_a_job_that_ended_early_keeps_its_results_and_the_rest_is_sent_again(
    world: BatchWorld, status: str
) -> None:
    world.batch()
    world.host.work(share=0.5, status=status)
    report = world.batch()
    assert any(f"ended early: {status}" in warning.error for warning in report.warnings)
    sent_again = len(world.host.submitted) - 9
    assert 0 < sent_again < 9
    world.host.work()
    world.batch()
    assert world.sources() == {"docs/0.md": 3, "docs/1.md": 3, "docs/2.md": 3}
    assert len(world.host.submitted) == 9 + sent_again


def test_a_refused_job_is_reported_and_sent_again_by_the_next_run(world: BatchWorld) -> None:
    world.batch()
    world.host.fail("Enqueued token limit reached")
    with pytest.raises(BackendError, match="Enqueued token limit reached"):
        world.batch()
    assert world.notes() == []
    assert world.batch().waiting.texts == 9
    world.host.work()
    assert counts(world.batch()) == {"added": 3}


def test_another_model_behind_the_batch_api_is_refused(world: BatchWorld) -> None:
    world.batch()
    world.host.batch_impostor = "bge-m3"
    world.host.work()
    with pytest.raises(IdentityMismatch, match="another model works there"):
        world.batch()
    assert world.sources() == {}
    with pytest.raises(IdentityMismatch, match="batch = false"):  # and nothing more is sent
        world.batch()
    assert len(world.host.submitted) == 9
    report = world.synchronous()
    assert counts(report) == {"added": 3}
    assert world.notes() == []


def test_a_backend_that_runs_another_model_gets_no_job(world: BatchWorld) -> None:
    world.batch()
    world.host.work()
    world.batch()
    world.host.impostor = "bge-m3"
    world.write("new.md", paragraphs("something new"))
    with pytest.raises(IdentityMismatch):
        world.batch()
    assert len(world.host.submitted) == 9


def test_results_that_are_gone_are_said_to_be_and_the_texts_sent_again(world: BatchWorld) -> None:
    world.batch()
    world.host.work()
    world.host.files.clear()
    report = world.batch()
    assert any("has no results any more" in warning.error for warning in report.warnings)
    assert len(world.host.submitted) == 18
    world.host.work()
    assert counts(world.batch()) == {"added": 3}


def test_unusable_results_are_the_host_s_failure_and_given_up_at_last(world: BatchWorld) -> None:
    world.batch()
    world.host.work()
    for file in world.host.files.values():
        if file.purpose != "batch":
            file.content = b"<html>sign in</html>"
    with pytest.raises(BackendError, match="results that are not JSON"):
        world.batch()
    assert len(world.host.submitted) == 9
    world.hours = 49
    report = world.batch()
    assert any("has no usable results" in warning.error for warning in report.warnings)
    assert len(world.host.submitted) == 18


def test_a_host_that_does_not_list_its_jobs_is_waited_for(world: BatchWorld) -> None:
    world.host.broken = {
        "POST /v1/batches": [-500],
        r"GET /v1/batches\?": [404, 404],
    }
    with pytest.raises(BackendError):
        world.batch()
    report = world.batch()
    assert any("cannot be found out" in warning.error for warning in report.warnings)
    assert report.waiting.documents == 3
    world.hours = 49
    world.batch()
    assert len(world.host.submitted) == 18  # given up: nothing else can be done


def test_a_second_backend_does_not_vouch_for_the_first(world: BatchWorld) -> None:
    """The jobs go to the first one, so it is the one that must reproduce the canary."""
    world.batch()
    world.host.work()
    world.batch()
    world.write("new.md", paragraphs("something new"))
    with OpenAIBatch(KEY) as other:
        other.impostor = "bge-m3"
        backends = (
            BackendConfig("openai", base_url=other.url),
            *world.embedding.backends,
        )
        with pytest.raises(IdentityMismatch):
            world.batch(embedding=replace(world.embedding, backends=backends))
        assert other.submitted == []


def test_a_job_that_the_host_forgot_is_given_up_after_twice_its_time_limit(
    world: BatchWorld,
) -> None:
    world.batch()
    world.host.jobs.clear()
    report = world.batch()
    assert any("Is the key of another project?" in warning.error for warning in report.warnings)
    assert report.waiting.documents == 3
    assert len(world.host.submitted) == 9
    world.hours = 49
    report = world.batch()
    assert any("given up" in warning.error for warning in report.warnings)
    assert len(world.host.submitted) == 18


def test_open_jobs_are_collected_without_batch_too(world: BatchWorld) -> None:
    """What waits is not embedded a second time; what is new is embedded at once."""
    world.batch()
    world.write("new.md", paragraphs("something new"))
    report = world.synchronous()
    assert counts(report) == {"added": 1}
    assert report.waiting.documents == 3
    assert len(world.host.texts) == 1
    world.host.work()
    world.host.texts.clear()
    assert counts(world.synchronous()) == {"added": 3, "unchanged": 1}
    assert world.host.texts == []


def test_a_run_of_other_folders_does_not_forget_the_job(world: BatchWorld, tmp_path: Path) -> None:
    world.batch()
    world.host.work()
    other = replace(world, root=tmp_path / "others")
    other.host = world.host
    other.root.mkdir()
    other.write("other.md", paragraphs("elsewhere"))
    other.batch()
    assert len(world.notes()) == 2
    assert counts(world.batch()) == {"added": 3}
    assert world.once()


def test_the_budget_applies_to_the_price_of_a_batch(world: BatchWorld) -> None:
    """432 tokens: 4.32 millionths of a dollar, and 8.64 without a batch."""
    world.batch(budget=Budget(max_cost=12e-6))
    assert world.last is not None
    assert world.last.backends[-1]["price"] == 0.01
    assert len(world.host.submitted) == 9


def test_a_run_over_its_budget_submits_what_fits(world: BatchWorld) -> None:
    with pytest.raises(BudgetReached, match="has no room for"):
        world.batch(budget=Budget(max_tokens=600))
    assert len(world.host.submitted) == 6
    assert world.batch(budget=Budget(max_tokens=600)).waiting.jobs == 2
    assert world.once()
    assert len(world.host.submitted) == 9


def test_a_refusal_of_the_budget_names_both_prices(world: BatchWorld) -> None:
    with pytest.raises(BudgetReached, match=r"cost \$0.01 in a batch, without a batch \$0.02"):
        world.batch(budget=Budget(max_cost=3e-6))
    assert world.host.submitted == []


def test_a_text_that_would_be_cut_silently_is_not_submitted(world: BatchWorld) -> None:
    """Mistral does not say what it does with long texts; nor does its batch API."""
    with MistralBatch(KEY) as host:
        world.host, world.environ = host, {"MISTRAL_API_KEY": KEY}  # type: ignore[assignment]
        world.write("long.md", "# Long\n\n" + "водоснабжение и канализация " * 2000)
        backend = BackendConfig("mistral", base_url=host.url)
        embedding = Embedding("mistral-embed", None, (backend,), batch=True)
        report = world.batch(embedding=embedding, chunk_size=6_000)
        (failure,) = report.failures
        assert failure.source == "docs/long.md"
        assert "would truncate the text without a message" in failure.error
        assert len(host.submitted) == 3
        report = world.batch(
            embedding=replace(embedding, truncate=True), chunk_size=6_000, retry_failed=True
        )
        assert report.failures == []
        assert 100 < len(host.submitted[-1].split()) < 4000


def test_the_notes_of_a_job_move_with_the_collection(world: BatchWorld) -> None:
    """A migration keeps the open jobs of both generations."""
    world.batch()
    with closing(world.open()) as collection:
        (job,) = collection.notes()["batches"]
        other = job.copy()
        other["id"] = "another"
        assert {"batches": [job, other]} == _open_jobs({"batches": [other]}, {"batches": [job]})
        assert _open_jobs({}, {}) == {}


def test_jobs_at_an_address_that_only_the_notes_name_get_no_key(world: BatchWorld) -> None:
    """Whoever writes to a shared server could name an address of his own."""
    world.batch()
    with closing(world.open()) as collection:
        (job,) = collection.notes()["batches"]
        collection.note({"batches": [{**job, "address": "http://203.0.113.7/v1"}]})
    world.host.calls.clear()
    report = world.batch()
    assert any("name its address http://203.0.113.7/v1" in w.error for w in report.warnings)
    assert report.waiting.documents == 3
    assert world.host.calls == []


def test_damaged_notes_of_a_job_are_named(world: BatchWorld) -> None:
    world.batch()
    with closing(world.open()) as collection:
        (job,) = collection.notes()["batches"]
        collection.note({"batches": [{**job, "keys": "not base64"}]})
    with pytest.raises(StoreError, match="is damaged"):
        world.batch()


def test_jobs_keep_the_limits_of_the_host(world: BatchWorld, monkeypatch: object) -> None:
    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    monkeypatch.setattr(submitter, "MAX_TEXTS", 7)
    report = world.batch()
    assert report.waiting.jobs == 3
    assert world.once()
    assert {len(job.requests) for job in world.host.jobs.values()} <= {7, 4}
    world.host.work()
    assert counts(world.batch()) == {"added": 3}
    assert world.once()


def test_an_answer_that_is_lost_does_not_make_a_second_job(world: BatchWorld) -> None:
    """The host begins the job, and answers with an error: nothing is sent before it was found."""
    world.host.broken["POST /v1/batches"] = [-500]
    with pytest.raises(BackendError, match="the next run asks for it"):
        world.batch()
    assert len(world.host.submitted) == 9
    report = world.batch()
    assert report.waiting.documents == 3
    world.host.work()
    assert counts(world.batch()) == {"added": 3}
    assert len(world.host.submitted) == 9


def test_a_job_that_the_host_lists_late_is_waited_for(world: BatchWorld) -> None:
    world.host.broken["POST /v1/batches"] = [-502]
    with pytest.raises(BackendError):
        world.batch()
    (job,) = world.host.jobs
    world.host.hidden.add(job)
    assert world.batch().waiting.documents == 3  # too early to say that it does not exist
    world.host.hidden.clear()
    world.host.work()
    assert counts(world.batch()) == {"added": 3}
    assert len(world.host.submitted) == 9


def test_a_job_that_was_never_begun_is_sent_again(world: BatchWorld) -> None:
    world.host.broken["POST /v1/batches"] = [500]
    with pytest.raises(BackendError):
        world.batch()
    assert world.batch().waiting.jobs == 1
    assert world.host.submitted == []
    world.hours = 1
    assert world.batch().waiting.documents == 3
    assert len(world.host.submitted) == 9
    assert len(world.host.files) == 1  # the file of the first attempt was deleted


@pytest.mark.parametrize("status", [400, 404, 401])
def test_a_host_that_takes_no_batches_is_a_clear_error(world: BatchWorld, status: int) -> None:
    world.host.broken["POST /v1/batches"] = [status]
    with pytest.raises(BackendError, match="no batch job was made at openai") as raised:
        world.batch()
    assert KEY not in str(raised.value)
    assert world.notes() == []
    assert world.host.files == {}


def test_a_busy_host_is_asked_again(world: BatchWorld) -> None:
    world.host.broken = {"POST /v1/batches": [429], "POST /v1/files": [503]}
    assert world.batch().waiting.documents == 3
    assert len(world.host.submitted) == 9


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (Embedding("builtin", batch=True), "runs in this process"),
        (Embedding("embed-v4.0", batch=True), "no batch API of cohere is known"),
    ],
)
def test_backends_without_a_batch_api_are_refused(
    world: BatchWorld, embedding: Embedding, message: str
) -> None:
    world.environ["CO_API_KEY"] = "x" * 40
    with pytest.raises(UsageError, match=message):
        world.batch(embedding=embedding)
