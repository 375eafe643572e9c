"""Scheduled jobs read back: their times, and the lines and units that `schedule` wrote."""

import shlex
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ragctl.schedule import ScheduledJob, crontab, every, units
from ragctl.schedule.installed import jobs_in_units, read_crontab
from ragctl.schedule.times import as_cron, last_start, next_start

NOW = datetime(2026, 11, 28, 9, 7, 30)  # a Saturday
ODD_NAME = '/srv/100% it\'s "my" $HOME; Ω/p.toml'


@pytest.mark.parametrize(
    ("cron", "last", "following"),
    [
        ("15 3 * * *", "2026-11-28 03:15", "2026-11-29 03:15"),
        ("7 9 * * *", "2026-11-28 09:07", "2026-11-29 09:07"),
        ("8 9 * * *", "2026-11-27 09:08", "2026-11-28 09:08"),
        ("*/15 * * * *", "2026-11-28 09:00", "2026-11-28 09:15"),
        ("30 22 * * 1-5", "2026-11-27 22:30", "2026-11-30 22:30"),
        ("0 4 * * 7", "2026-11-22 04:00", "2026-11-29 04:00"),
        ("0 4 * * sun", "2026-11-22 04:00", "2026-11-29 04:00"),
        ("5 10-20/5 * * *", "2026-11-27 20:05", "2026-11-28 10:05"),
        ("0 0 29 2 *", "2024-02-29 00:00", "2028-02-29 00:00"),
        ("0 0 1 jan,jul *", "2026-07-01 00:00", "2027-01-01 00:00"),
        ("0 0 13 * 5", "2026-11-27 00:00", "2026-12-04 00:00"),  # the 13th, or a Friday
        ("@weekly", "2026-11-22 00:00", "2026-11-29 00:00"),
        ("0 0 31 2 *", None, None),
    ],
)
def test_the_starts_around_a_time(cron: str, last: str | None, following: str | None) -> None:
    def time(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    assert last_start(cron, NOW) == time(last)
    assert next_start(cron, NOW) == time(following)


@pytest.mark.parametrize(
    ("period", "at"),
    [
        *(("day", None), ("weekday", "22:30"), ("sunday", "04:00"), ("hour", ":40")),
        *(("6 hours", ":05"), ("minute", None), ("15 minutes", None)),
    ],
)
def test_both_forms_of_a_period_start_at_the_same_times(period: str, at: str | None) -> None:
    schedule = every(period, at)
    cron = as_cron(schedule.systemd)
    assert cron is not None
    for minutes in range(0, 15_000, 37):
        now = NOW + timedelta(minutes=minutes)
        assert last_start(cron, now) == last_start(schedule.cron, now)
        assert next_start(cron, now) == next_start(schedule.cron, now)


def test_other_calendar_events_are_not_understood() -> None:
    for event in ("monthly", "Mon,Fri *-*-* 03:00:00", "xyz *-*-* 03:00:00", "*-*-01 00:00:00", ""):
        assert as_cron(event) is None


def scheduled(path: str, env_file: str | None = None, **variables: str) -> ScheduledJob:
    file = Path(env_file) if env_file else None
    return ScheduledJob(("/usr/bin/ragctl",), Path(path), "docs", file, True, variables)


def test_a_crontab_is_read_back() -> None:
    jobs = [
        scheduled(ODD_NAME, "/k e/y's 5%.env", RAGCTL_HOME="/srv/my store %"),
        scheduled("/srv/plain.toml"),
    ]
    table = b"# a comment\nMAILTO=x\n0 1 * * * other # ragctl is not meant\n"
    for job in jobs:
        table = crontab.with_line(table, job, every("weekday"))
    table = table.replace(b"15 3 * * 1-5 /usr", b"@daily /usr")  # edited by hand
    off = b"# " + crontab.line(scheduled("/srv/off.toml"), every("day")).encode() + b"\n"
    odd, plain = read_crontab(table + off)
    assert (odd.pipeline, odd.kind, odd.times) == (Path(ODD_NAME), "cron", "15 3 * * 1-5")
    assert odd.env_file == Path("/k e/y's 5%.env")
    assert odd.variables == {"RAGCTL_HOME": "/srv/my store %"}
    assert (plain.pipeline, plain.times) == (Path("/srv/plain.toml"), "@daily")
    assert (plain.env_file, plain.variables) == (None, {})


def test_units_are_read_back(tmp_path: Path) -> None:
    assert list(jobs_in_units(tmp_path / "none")) == []
    jobs = [scheduled(ODD_NAME, "/k e/y's 5%.env", RAGCTL_HOME="/srv/a $b %"), scheduled("/p.toml")]
    for job in jobs:
        for name, text in units.units(job, every("day")).items():
            (tmp_path / name).write_text(text)
    wants = tmp_path / "timers.target.wants"
    wants.mkdir()
    (wants / f"{units.name(jobs[1])}.timer").symlink_to("missing")
    (tmp_path / "ragctl-mine.timer").write_text("[Timer]\nOnCalendar=daily\n")
    found = {job.pipeline: job for job in jobs_in_units(tmp_path)}
    assert set(found) == {Path(ODD_NAME), Path("/p.toml")}
    odd = found[Path(ODD_NAME)]
    assert (odd.kind, odd.times, odd.enabled) == ("systemd", "*-*-* 03:15:00", False)
    assert odd.env_file == Path("/k e/y's 5%.env")
    assert odd.variables == {"RAGCTL_HOME": "/srv/a $b %"}
    assert found[Path("/p.toml")].enabled


def test_rubbish_in_a_crontab_is_no_error() -> None:
    mark = crontab.MARK_PREFIX.encode()
    for row in (b"\xff\xfe " + mark, b"* * * * * 'open " + mark + b"/p.toml", mark + b"/p.toml"):
        for job in read_crontab(row):
            assert shlex.quote(str(job.pipeline))
