"""Budgets per run, day and month: no request exceeds them, and the next run continues."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from ragctl.catalog import BackendConfig
from ragctl.collection.text import text_hash
from ragctl.errors import BackendError, BudgetReached, UsageError
from ragctl.index.report import Report
from ragctl.pipeline import Budget, Embedding
from tests.servers.host import CANARIES
from tests.servers.openai import OpenAIServer
from tests.world import DIM, World, paragraphs

pytestmark = pytest.mark.slow

DAY = 86_400.0
CANARY = {text_hash(text) for text in CANARIES}
NOON = 1_800_000_000.0 // DAY * DAY + DAY / 2  # 2027-01-15


@dataclass
class RunResult:
    report: Report
    budget_message: str | None  # the message of BudgetReached


def run(world: World, *, at: float = NOON, **changes: Any) -> RunResult:
    job = world.run(**changes)
    job.clock = lambda: at
    with closing(job.store):
        try:
            return RunResult(job.ingest(), None)
        except BudgetReached as error:
            assert job.report is not None
            return RunResult(job.report, str(error))


def spent(world: World) -> Any:
    with closing(world.open()) as collection:
        return collection.notes().get("spent")


def write_corpus(world: World, documents: int = 12, sections: int = 4) -> None:
    for n in range(documents):
        world.write(f"{n:02}.md", paragraphs(*(f"text {n} {k}" for k in range(sections))))


def test_a_run_stops_between_documents_and_the_next_continues(world: World) -> None:
    write_corpus(world)
    full_tokens = run(world, collection="whole").report.tokens
    all_texts = {text_hash(text) for text in world.embedded()}
    world.forget()
    limit, runs = full_tokens // 2, 0
    sent: set[str] = set()
    while True:
        done = run(world, budget=Budget(max_tokens=limit))
        runs += 1
        assert done.report.tokens <= limit
        texts = {text_hash(text) for text in world.embedded()} - CANARY
        assert not texts & sent, "embedded twice"
        sent |= texts
        world.forget()
        if done.budget_message is None:
            break
        assert set(world.sources().values()) == {4}  # whole documents only
        assert done.report.documents.added > 0
        assert done.report.left == 12 - len(world.sources())
        assert "has no room for" in done.budget_message
        assert "the next run continues" in done.budget_message
        assert runs < 10
    assert runs > 1
    assert sent == all_texts - CANARY
    other = world.run(collection="whole")
    with closing(other.store):
        assert other.ingest().documents.unchanged == 12
    assert len(world.sources()) == 12
    assert done.report.left == 0


def test_a_document_that_never_fits_is_named(edge_world: World) -> None:
    world = edge_world
    world.write("small.md", paragraphs("one"))
    world.ingest()
    world.write("large.md", paragraphs(*(f"text {n}" for n in range(40))))
    done = run(world, budget=Budget(max_tokens=300))
    assert done.budget_message is not None
    assert "docs/large.md" in done.budget_message
    assert "this document alone exceeds the limit" in done.budget_message
    assert done.report.requests == 0
    assert world.sources() == {"docs/small.md": 1}


def test_changes_without_embedding_need_no_budget(edge_world: World) -> None:
    world = edge_world
    write_corpus(world, 3)
    world.ingest()
    (world.root / "00.md").rename(world.root / "renamed.md")
    (world.root / "01.md").unlink()
    done = run(world, budget=Budget(max_tokens=1, max_cost=0.000001))
    assert done.budget_message is None
    assert (done.report.documents.renamed, done.report.documents.removed) == (1, 1)


def test_a_run_that_reaches_its_budget_removes_nothing(edge_world: World) -> None:
    """Removals come last, after everything new was written."""
    world = edge_world
    write_corpus(world, 3)
    world.ingest()
    (world.root / "00.md").unlink()
    world.write("new.md", paragraphs(*(f"new {n}" for n in range(30))))
    assert run(world, budget=Budget(max_tokens=200)).budget_message is not None
    assert world.sources() == {"docs/00.md": 4, "docs/01.md": 4, "docs/02.md": 4}


def test_a_cost_limit_is_applied(edge_world: World) -> None:
    world = edge_world
    write_corpus(world)
    expensive = Embedding(
        "jina-embeddings-v3", DIM, (BackendConfig(base_url=world.server.url, price=1000.0),)
    )
    full_cost = run(world, embedding=expensive, collection="whole").report.cost
    assert full_cost is not None
    done = run(world, embedding=expensive, budget=Budget(max_cost=full_cost / 2))
    assert done.budget_message is not None
    assert "$" in done.budget_message
    assert done.report.cost is not None
    assert 0 < done.report.cost <= full_cost / 2


def test_a_cost_limit_requires_known_prices(edge_world: World) -> None:
    world = edge_world
    write_corpus(world, 1)
    with OpenAIServer(like="infinity") as server:
        config = BackendConfig("scaleway", server.url)
        priced = BackendConfig("scaleway", server.url, price=0.02)
        for backends, known in (((config,), False), ((priced,), True)):
            job = world.run(
                embedding=Embedding("qwen3-embedding-8b", 1024, backends),
                budget=Budget(max_cost=1.0),
            )
            job.environ = {"SCW_SECRET_KEY": "x"}
            with closing(job.store):
                if known:
                    job.dry_run()
                else:
                    with pytest.raises(
                        UsageError, match=r"max_cost: no price is known .* scaleway"
                    ):
                        job.dry_run()


@pytest.mark.parametrize(
    ("name", "later"), [("max_tokens_per_day", DAY), ("max_tokens_per_month", 17 * DAY)]
)
def test_daily_and_monthly_limits(world: World, name: str, later: float) -> None:
    write_corpus(world)
    full_tokens = run(world, collection="whole").report.tokens
    budget = Budget(**{name: full_tokens // 2})
    first = run(world, budget=budget)
    assert first.budget_message is not None
    # The run waits for answers in flight instead of estimating them, so the last document fits.
    assert full_tokens // 2 - 200 < first.report.tokens <= full_tokens // 2
    assert first.report.documents.added == len(world.sources())
    second = run(world, budget=budget, at=NOON + 3600)
    assert second.budget_message is not None
    assert second.report.requests == 0
    assert "(UTC) continues" in second.budget_message
    third = run(world, budget=budget, at=NOON + later)
    assert 0 < third.report.tokens <= full_tokens // 2
    days = spent(world)
    assert sum(day["tokens"] for day in days.values()) == first.report.tokens + third.report.tokens
    assert len(days) == 2


def test_a_daily_budget_counts_runs_without_a_budget(edge_world: World) -> None:
    world = edge_world
    write_corpus(world, 4)
    before = run(world).report.tokens
    world.write("new.md", paragraphs(*(f"new {n}" for n in range(4))))
    done = run(world, budget=Budget(max_tokens_per_day=before + 10))
    assert done.budget_message is not None
    assert done.report.requests == 0


def test_a_used_up_budget_creates_no_collection(edge_world: World) -> None:
    """Not even the canary texts are sent if nothing may be spent."""
    world = edge_world
    write_corpus(world, 1)
    done = run(world, budget=Budget(max_tokens_per_day=1))
    # The canaries of the first run are spent before a document can be refused.
    assert done.budget_message is not None
    again = run(world, budget=Budget(max_tokens_per_day=1))
    assert again.report.requests == 0


def test_the_reservation_of_a_killed_run_counts_as_spent(
    edge_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are reserved before they are sent; the end of a run corrects the record."""
    world = edge_world
    write_corpus(world)
    full_tokens = run(world, collection="whole").report.tokens

    class Killed(BaseException):
        pass

    job = world.run(budget=Budget(max_tokens_per_day=10 * full_tokens))
    job.clock = lambda: NOON

    def die(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(type(job), "_write_notes", die)  # nothing is written at the end
    with closing(job.store), pytest.raises(Killed):
        job.ingest()
    days = spent(world)
    (day,) = days.values()
    assert day["tokens"] >= full_tokens  # all tokens of the run were reserved


def test_a_plan_reserves_nothing(edge_world: World) -> None:
    world = edge_world
    write_corpus(world, 2)
    full_tokens = run(world).report.tokens
    before = spent(world)
    world.write("new.md", paragraphs("one"))
    job = world.run(budget=Budget(max_tokens_per_day=10 * full_tokens))
    with closing(job.store):
        assert job.dry_run().tokens > 0
    assert spent(world) == before


def test_tokens_billed_before_an_outage_count_for_the_day(edge_world: World) -> None:
    world = edge_world
    write_corpus(world)
    world.server.credit = 20
    with pytest.raises(BackendError):
        run(world)
    (day,) = spent(world).values()
    assert day["tokens"] > 0
