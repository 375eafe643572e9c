"""The summary line of a run."""

import pytest

from ragctl.cli.summary import summary
from ragctl.hosts.usage import Usage, UsageTotals
from ragctl.index.report import ChunkCounts, DocumentCounts, Report
from ragctl.records import Identity

IDENTITY = Identity(model="m", dimension=8)


def test_a_complete_run() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=2, unchanged=1), ChunkCounts(embedded=5))
    report.tokens, report.requests, report.seconds = 1200, 2, 0.25
    assert summary(report) == (
        "docs: 2 added, 1 unchanged; 5 chunks embedded (1,200 tokens, 2 requests); 0.2 s"
    )


def test_it_says_what_was_reused_and_deleted() -> None:
    chunks = ChunkCounts(reused=3, deleted=1, unstored=1)
    report = Report("docs", IDENTITY, DocumentCounts(renamed=3, removed=1), chunks)
    assert "1 chunk embedded but not stored; 3 chunks reused; 1 chunk deleted" in summary(report)


def test_a_run_that_stopped_early() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=2), ChunkCounts(embedded=5), left=3)
    line = summary(report, completed=False)
    assert line.startswith("docs: stopped early: 2 added; 5 chunks embedded")
    assert "3 files left for the next run" in line


def test_a_run_that_stopped_before_anything_was_done() -> None:
    report = Report("docs", IDENTITY, left=10)
    line = summary(report, completed=False)
    assert line == "docs: nothing was done, 10 files left; 0.0 s"
    report.left = 1
    report.documents.unchanged, report.requests = 4, 1
    line = summary(report, completed=False)
    assert line == "docs: nothing was done, 1 file left; 4 unchanged; 0 tokens, 1 request; 0.0 s"
    report = Report("docs", IDENTITY, left=None)
    line = summary(report, completed=False)
    assert line == "docs: nothing was done; 0.0 s"


def test_a_dry_run() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=2), ChunkCounts(embedded=5))
    assert summary(report, dry_run=True).startswith("docs: planned: 2 added; 5 chunks to embed")


def test_one_of_a_thing() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=1), ChunkCounts(embedded=1), left=1)
    report.tokens = report.requests = report.elsewhere = 1
    report.skipped.add_without_loader("a.png", "a.png")
    assert summary(report, completed=False) == (
        "docs: stopped early: 1 added; 1 chunk embedded (1 token, 1 request); "
        "1 file left for the next run; 1 file skipped (no loader: 1 .png); "
        "1 other document kept; 0.0 s"
    )


def test_skipped_files_are_counted_by_type_and_links_are_named() -> None:
    report = Report("docs", IDENTITY)
    for name in ("a.png", "b.PNG", "b\x1b", "x.a", "x.b", "x.c", "x.d", "x.e"):
        report.skipped.add_without_loader(name, name)
    report.skipped.add("policies", "link_to_folder", "a link to the folder /x")
    for name in ("l1.md", "l2.md", "l3.md", "l4.md"):
        report.skipped.add(name, "link_out", "a link out of the folder")
    report.skipped.add("build/", "gitignore", "ignored by .gitignore, line 1: build/")
    report.skipped.add("node_modules/", "default", "ignored by default: node_modules/")
    assert (
        "13 files skipped (no loader: 2 .png, 1 .a, 1 .b, 1 .c, 1 .d, 2 more types; "
        "links to folders: policies; links out of the folder: l1.md, l2.md, l3.md …); "
        "1 ignored by .gitignore; 0.0 s"
    ) in summary(report)


def test_a_model_in_this_process_gets_no_requests() -> None:
    usage = Usage("builtin", price=0.0, in_process=True)
    usage.answered(2, 0, 30)
    report = Report("docs", IDENTITY, DocumentCounts(added=1), ChunkCounts(embedded=2))
    report.set_usage(UsageTotals([usage]))
    assert "2 chunks embedded (30 tokens, in this process)" in summary(report)
    assert report.to_json()["requests"] == 0
    assert str(report.to_json()["cost"]) == "0"


@pytest.mark.parametrize(
    ("price", "tokens", "cost"),
    [(None, 0, "0"), (None, 5, "None"), (0.0, 5, "0"), (2.0, 5, "1e-05")],
)
def test_the_cost_is_unknown_only_without_a_price(
    price: float | None, tokens: int, cost: str
) -> None:
    usage = Usage("host", price=price)
    usage.sent()
    usage.answered(1, tokens)
    report = Report("docs", IDENTITY)
    report.set_usage(UsageTotals([usage]))
    body = report.to_json()
    assert str(body["cost"]) == cost
    assert [str(row["cost"]) for row in report.backends] == [cost]
