"""The summary line of a run."""

from ragctl.cli.summary import summary
from ragctl.index.report import ChunkCounts, DocumentCounts, Report
from ragctl.records import Identity

IDENTITY = Identity(model="m", dimension=8)


def test_a_complete_run() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=2, unchanged=1), ChunkCounts(embedded=5))
    report.tokens, report.requests, report.seconds = 1200, 2, 0.25
    assert summary(report) == (
        "docs: 2 added, 1 unchanged; 5 chunks embedded (1,200 tokens, 2 requests); 0.2 s"
    )


def test_a_run_that_stopped_early() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=2), ChunkCounts(embedded=5), left=3)
    line = summary(report, completed=False)
    assert line.startswith("docs: stopped early: 2 added; 5 chunks embedded")
    assert "3 files left for the next run" in line


def test_a_run_that_stopped_before_anything_was_done() -> None:
    report = Report("docs", IDENTITY, left=10)
    line = summary(report, completed=False)
    assert line == "docs: stopped before anything was done: 10 files left; 0.0 s"
    report.left = 0
    assert summary(report, completed=False) == "docs: stopped before anything was done; 0.0 s"


def test_a_dry_run() -> None:
    report = Report("docs", IDENTITY, DocumentCounts(added=2), ChunkCounts(embedded=5))
    assert summary(report, dry_run=True).startswith("docs: planned: 2 added; 5 chunks to embed")
