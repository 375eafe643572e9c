"""The output of `ragctl schedule`: crontab lines as a shell reads them, units as systemd does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ragctl
from ragctl.errors import UsageError
from ragctl.schedule import ScheduledJob, crontab, every, from_calendar, from_cron, units
from tests.servers.jina import JinaServer
from tests.world import KEY

pytestmark = pytest.mark.slow

RAGCTL = (sys.executable, "-m", "ragctl")
SPECIAL_CHARACTERS = '100% it\'s "my" $HOME; `x` & Ω'
NIGHTLY = every("day")


def job(path: str = "/srv/p.toml", **changes: object) -> ScheduledJob:
    fields: dict[str, object] = {
        "program": ("/usr/bin/ragctl",),
        "pipeline": Path(path),
        "collection": "docs",
    }
    return ScheduledJob(**(fields | changes))  # type: ignore[arg-type]


# Schedules


@pytest.mark.parametrize(
    ("period", "at", "cron", "systemd"),
    [
        ("day", None, "15 3 * * *", "*-*-* 03:15:00"),
        ("Day", "0:05", "5 0 * * *", "*-*-* 00:05:00"),
        ("weekday", "22:30", "30 22 * * 1-5", "Mon..Fri *-*-* 22:30:00"),
        ("sunday", "04:00", "0 4 * * 0", "Sun *-*-* 04:00:00"),
        ("monday", "04:00", "0 4 * * 1", "Mon *-*-* 04:00:00"),
        ("hour", None, "15 * * * *", "*-*-* *:15:00"),
        ("hour", ":40", "40 * * * *", "*-*-* *:40:00"),
        ("6 hours", ":05", "5 */6 * * *", "*-*-* 0/6:05:00"),
        ("minute", None, "* * * * *", "*-*-* *:*:00"),
        ("15 minutes", None, "*/15 * * * *", "*-*-* *:0/15:00"),
    ],
)
def test_periods_become_cron_and_systemd_schedules(
    period: str, at: str | None, cron: str, systemd: str
) -> None:
    schedule = every(period, at)
    assert (schedule.cron, schedule.systemd) == (cron, systemd)
    assert from_cron(cron).cron == cron
    assert from_calendar(systemd).systemd == systemd
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "calendar", systemd], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("period", "at"),
    [
        ("", None),
        ("fortnight", None),
        ("7 minutes", None),
        ("60 minutes", None),
        ("0 hours", None),
        ("24 hours", None),
        ("-5 minutes", None),
        ("5 days", None),
        ("15 minutes", "03:15"),
        ("day", "24:00"),
        ("day", "3"),
        ("day", "03:15:00"),
        ("day", "03:15\n* * * * * x"),
        ("hour", ":60"),
    ],
)
def test_invalid_periods_are_refused(period: str, at: str | None) -> None:
    with pytest.raises(UsageError, match=r"--every|--at"):
        every(period, at)


@pytest.mark.parametrize(
    "expression",
    [
        "0 3 * * *",
        "*/5 9-17 * * mon-fri",
        "0,30 8-18/2 1,15 jan-mar,dec 0,7",
        "@daily",
        "0 0 31 2 *",
    ],
)
def test_cron_expressions_are_accepted(expression: str) -> None:
    assert from_cron(f"  {expression} ").cron == expression


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
        *("* * * * 8", "5-1 * * * *", "*/0 * * * *", "5/2 * * * *", "a * * * *", "* * * foo *"),
        *("@reboot", "* * * * *\n0", "1,,2 * * * *", "-1 * * * *", "١ * * * *", "* * * * * rm"),
    ],
)
def test_invalid_cron_expressions_are_refused(expression: str) -> None:
    with pytest.raises(UsageError, match="--calendar"):
        from_cron(expression)


def test_invalid_calendars_are_refused() -> None:
    for expression in ("", " ", "daily\nExecStart=x", "%h"):
        with pytest.raises(UsageError, match="--calendar"):
            from_calendar(expression)


# The crontab


def shell_command(line: str) -> str:
    """Return the command of a line as cron passes it to the shell (crontab(5))."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    return command.replace(r"\%", "%")


def test_the_shell_gets_every_argument_unchanged(tmp_path: Path) -> None:
    printing = (sys.executable, "-c", "import sys, os; print(sys.argv[1:], os.environ['NAME'])")
    scheduled = job(
        f"/srv/{SPECIAL_CHARACTERS}/p.toml",
        program=printing,
        env_file=Path(f"/etc/{SPECIAL_CHARACTERS}"),
        wait=True,
        variables={"NAME": SPECIAL_CHARACTERS},
    )
    line = crontab.line(scheduled, NIGHTLY)
    assert "\n" not in line
    done = subprocess.run(
        ["/bin/sh", "-c", shell_command(line)], env={}, capture_output=True, text=True, check=True
    )
    args = [
        "--env-file",
        f"/etc/{SPECIAL_CHARACTERS}",
        "run",
        "--quiet",
        "--wait",
        f"/srv/{SPECIAL_CHARACTERS}/p.toml",
    ]
    assert done.stdout == f"{args} {SPECIAL_CHARACTERS}\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "a\tb", "a\x1bb", "a\u2028b", "a\udcffb"])
def test_names_with_control_characters_are_refused(name: str) -> None:
    for changes in ({"path": f"/srv/{name}"}, {"variables": {"RAGCTL_HOME": name}}):
        with pytest.raises(UsageError, match="rename it"):
            job(**changes)


def test_lines_that_cron_cannot_read_are_refused() -> None:
    with pytest.raises(UsageError, match="--systemd"):
        crontab.line(job("/srv/back\\slash.toml"), NIGHTLY)
    with pytest.raises(UsageError, match="--systemd"):
        crontab.line(job(f"/srv/{'long/' * 100}p.toml"), NIGHTLY)


def test_only_the_line_of_the_pipeline_is_replaced() -> None:
    others = b"MAILTO=x\n#c\n\n* * * * * \xff\r\n* * * * * y # ragctl schedule /srv/p.toml.old\n"
    own_job, other_job = job("/srv/p.toml"), job("/other/srv/p.toml")
    table = crontab.with_line(others, own_job, NIGHTLY)
    table = crontab.with_line(table, other_job, NIGHTLY)
    assert table.startswith(others)
    again = crontab.with_line(table, own_job, every("hour"))
    assert again.count(b"\n") == table.count(b"\n")
    assert again.startswith(others)
    assert crontab.without(crontab.without(again, own_job), other_job) == others
    assert crontab.with_line(b"* * * * * x", own_job, NIGHTLY).startswith(b"* * * * * x\n")
    assert crontab.without(b"", own_job) == b""


# The units


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """systemd finds the program only if the special characters of its path are quoted correctly."""
    program = tmp_path / "100% of my; `x` & Ω" / "ragctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    scheduled = job(
        f"/srv/{SPECIAL_CHARACTERS}\\/p.toml",
        program=(str(program),),
        variables={"RAGCTL_HOME": SPECIAL_CHARACTERS},
    )
    texts = units.units(scheduled, NIGHTLY)
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in texts)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "ragctl" in line]
    assert ours == []
    program.unlink()
    broken = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            str(tmp_path / f"{units.name(scheduled)}.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(program) in broken.stderr


def test_values_in_units_are_quoted() -> None:
    scheduled = job(
        '/srv/a "b" $c 50% \\d\'.toml', wait=True, variables={"RAGCTL_HOME": '/x $y 5% "z" \\'}
    )
    service = units.units(scheduled, NIGHTLY)[f"{units.name(scheduled)}.service"]
    assert 'ExecStart="/usr/bin/ragctl" "run" "--quiet" "--wait" ' in service
    assert (
        r"""/srv/a \"b\" $$c 50%% \\d'.toml"

""".strip()
        in service
    )
    assert r'Environment="RAGCTL_HOME=/x $y 5%% \"z\" \\"' in service
    for character in "$\"'\\":
        with pytest.raises(UsageError, match="systemd starts no program"):
            units.units(job(program=(f"/opt/{character}x/ragctl",)), NIGHTLY)


def test_each_pipeline_has_its_own_unit_name() -> None:
    names = {units.name(job(path)) for path in ("/a/p.toml", "/b/p.toml", "/a/p q.toml", "/a/...")}
    assert len(names) == 4
    assert all(re.fullmatch(r"ragctl-[A-Za-z0-9_.-]+-[0-9a-f]{8}", name) for name in names)


# The command


class Shell:
    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "docs").mkdir()
        (home / "docs" / "a.txt").write_text("The heat pump is in the cellar.")
        (home / "p.toml").write_text('collection = "kb"\n[[sources]]\npath = "docs"\n')
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.endswith("_KEY")},
            "RAGCTL_HOME": "store",
            "XDG_CONFIG_HOME": str(home / "config"),
            "PYTHONPATH": str(Path(ragctl.__file__).parents[1]),
        }

    def __call__(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RAGCTL, *args],
            env={**self.environ, **environ},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_the_printed_line_runs_as_started_by_cron(shell: Shell, tmp_path: Path) -> None:
    """It runs in another folder without the variables of this shell; its paths are absolute."""
    (tmp_path / "keys.env").write_text("RAGCTL_PDF_PASSWORD=x\n")
    done = shell("--env-file", "keys.env", "schedule", "p.toml", "--at", "02:30")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("30 2 * * * ")
    assert done.stdout.endswith(f" # ragctl schedule {tmp_path}/p.toml\n")
    assert f"--env-file {tmp_path}/keys.env run --quiet {tmp_path}/p.toml" in done.stdout
    cron = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "x"}
    for _ in range(2):
        cron_run = subprocess.run(
            ["/bin/sh", "-c", shell_command(done.stdout.rstrip("\n"))],
            env=cron,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (cron_run.returncode, cron_run.stdout, cron_run.stderr) == (0, "", "")
    assert shell("status", "-c", "kb").returncode == 0


def test_an_invalid_pipeline_is_not_scheduled(shell: Shell) -> None:
    (shell.home / "bad.toml").write_text("sources = 3\n")
    for args in (
        ["bad.toml"],
        ["none.toml"],
        ["p.toml", "--install", "--remove"],
        ["p.toml", "--calendar", "0 3 * * *", "--at", "03:15"],
        ["p.toml", "--calendar", "0 3 * *"],
        ["p.toml", "--every", "fortnight"],
    ):
        done = shell("schedule", *args)
        assert (done.returncode, done.stdout) == (2, ""), args
        assert done.stderr.count("\n") == 1, done.stderr


def test_an_api_key_set_only_in_this_shell_causes_a_warning(shell: Shell) -> None:
    (shell.home / "p.toml").write_text(
        '[[sources]]\npath = "docs"\n[embedding]\nmodel = "jina-embeddings-v3"\n'
    )
    (shell.home / "keys.env").write_text("JINA_API_KEY=k3y\n")
    warned = shell("schedule", "p.toml", JINA_API_KEY="k3y")
    assert warned.stderr.startswith("warning: JINA_API_KEY is set in this shell only")
    assert "k3y" not in warned.stderr + warned.stdout
    from_file = shell("--env-file", "keys.env", "schedule", "p.toml", JINA_API_KEY="k3y")
    assert from_file.stderr == ""
    assert "k3y" not in from_file.stdout


@pytest.mark.parametrize("name", ["RAGCTL_QDRANT_API_KEY", "QDRANT_API_KEY", "RAGCTL_PDF_PASSWORD"])
@pytest.mark.parametrize("target", [[], ["--systemd"]])
def test_a_secret_set_only_in_this_shell_causes_a_warning_and_is_not_written(
    shell: Shell, name: str, target: list[str]
) -> None:
    text = (shell.home / "p.toml").read_text()
    (shell.home / "p.toml").write_text(f'store = "http://127.0.0.1:1"\n{text}')
    warned = shell("schedule", "p.toml", *target, **{name: "s3cret"})
    assert warned.stderr.startswith(f"warning: {name} is set in this shell only")
    assert "env_file" in warned.stderr
    assert "s3cret" not in warned.stderr + warned.stdout
    (shell.home / "keys.env").write_text(f"{name}=s3cret\n")
    silent = shell("--env-file", "keys.env", "schedule", "p.toml", *target, **{name: "s3cret"})
    assert silent.stderr == ""
    assert "s3cret" not in silent.stdout


def test_variables_without_secrets_are_written_into_the_job(shell: Shell) -> None:
    plain = {"RAGCTL_LOG_FORMAT": "json", "RAGCTL_LEASE_SECONDS": "30"}
    line = shell("schedule", "p.toml", FASTEMBED_CACHE_PATH="models", **plain).stdout
    assert f" FASTEMBED_CACHE_PATH={shell.home}/models " in line
    assert "RAGCTL_LEASE_SECONDS=30 RAGCTL_LOG_FORMAT=json " in line
    unit = shell("schedule", "p.toml", "--systemd", **plain).stdout
    assert 'Environment="RAGCTL_LEASE_SECONDS=30"' in unit


def test_path_is_written_for_a_key_command(shell: Shell) -> None:
    tools = shell.home / "tools"
    tools.mkdir()
    (tools / "our-keys").write_text(f"#!/bin/sh\necho {KEY}\n")
    (tools / "our-keys").chmod(0o755)
    with JinaServer(KEY) as server:
        (shell.home / "p.toml").write_text(
            '[[sources]]\npath = "docs"\n[embedding]\nmodel = "jina-embeddings-v3"\n'
            f'key_command = ["our-keys"]\nbase_url = "{server.url}"\n'
        )
        path = f"{tools}:{os.environ['PATH']}"
        line = shell("schedule", "p.toml", PATH=path).stdout.rstrip("\n")
        done = subprocess.run(
            ["/bin/sh", "-c", shell_command(line)],
            env={},
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert f"PATH={path} " in line


def test_units_are_printed_with_their_paths(shell: Shell) -> None:
    done = shell("schedule", "p.toml", "--systemd", "--calendar", "Mon *-*-* 04:00:00")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"# {shell.home}/config/systemd/user/ragctl-p-") == 2
    assert "OnCalendar=Mon *-*-* 04:00:00\n" in done.stdout
    assert not (shell.home / "config").exists()


def test_without_systemctl_the_units_are_written_and_the_commands_printed(shell: Shell) -> None:
    """The error names the systemctl commands to run by hand."""
    folder = shell.home / "config/systemd/user"
    no_programs = {"PATH": "/nowhere"}
    done = shell("schedule", "p.toml", "--systemd", "--install", **no_programs)
    assert done.returncode == 2
    assert (
        "systemctl --user daemon-reload && systemctl --user enable --now ragctl-p-" in done.stderr
    )
    service, timer = sorted(folder.iterdir())
    assert (service.suffix, timer.suffix) == (".service", ".timer")
    other = folder / "other.timer"
    other.write_text("mine")
    timer.write_text("mine too")
    refused = shell("schedule", "p.toml", "--systemd", "--install", **no_programs)
    assert "was not written by ragctl" in refused.stderr
    assert shell("schedule", "p.toml", "--systemd", "--remove", **no_programs).returncode == 2
    assert timer.read_text() == "mine too"
    timer.unlink()
    removed = shell("schedule", "p.toml", "--systemd", "--remove", **no_programs)
    assert removed.stdout.startswith("removed the systemd service and timer of /")
    assert list(folder.iterdir()) == [other]
    removed_again = shell("schedule", "p.toml", "--systemd", "--remove", **no_programs)
    assert (removed_again.returncode, removed_again.stdout.split(" for ")[0]) == (
        0,
        "nothing was installed",
    )


def test_without_crontab_the_error_says_what_to_install(shell: Shell) -> None:
    done = shell("schedule", "p.toml", "--install", PATH="/nowhere")
    assert done.returncode == 2
    assert "apt-get install cron" in done.stderr
