"""The texts of `ragctl schedule`: a crontab's line as the shell reads it, units as systemd does."""

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

RAGCTL = (sys.executable, "-m", "ragctl")
HOSTILE = '100% it\'s "my" $HOME; `x` & Ω'
NIGHTLY = every("day")


def job(path: str = "/srv/p.toml", **changes: object) -> ScheduledJob:
    fields: dict[str, object] = {
        "program": ("/usr/bin/ragctl",),
        "pipeline": Path(path),
        "collection": "docs",
    }
    return ScheduledJob(**(fields | changes))  # type: ignore[arg-type]


# When


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
def test_periods(period: str, at: str | None, cron: str, systemd: str) -> None:
    found = every(period, at)
    assert (found.cron, found.systemd) == (cron, systemd)
    assert from_cron(cron).cron == cron
    assert from_calendar(systemd).systemd == systemd
    if shutil.which("systemd-analyze"):
        ran = subprocess.run(
            ["systemd-analyze", "calendar", systemd], capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stderr


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
def test_periods_that_are_none(period: str, at: str | None) -> None:
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
def test_expressions_of_cron(expression: str) -> None:
    assert from_cron(f"  {expression} ").cron == expression


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
        *("* * * * 8", "5-1 * * * *", "*/0 * * * *", "5/2 * * * *", "a * * * *", "* * * foo *"),
        *("@reboot", "* * * * *\n0", "1,,2 * * * *", "-1 * * * *", "١ * * * *", "* * * * * rm"),
    ],
)
def test_expressions_that_are_none(expression: str) -> None:
    with pytest.raises(UsageError, match="--calendar"):
        from_cron(expression)


def test_calendars_that_are_none() -> None:
    for expression in ("", " ", "daily\nExecStart=x", "%h"):
        with pytest.raises(UsageError, match="--calendar"):
            from_calendar(expression)


# The crontab


def as_shell(line: str) -> str:
    """The command of a line, as cron hands it to the shell (crontab(5))."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    return command.replace(r"\%", "%")


def test_the_shell_gets_back_every_word(tmp_path: Path) -> None:
    printing = (sys.executable, "-c", "import sys, os; print(sys.argv[1:], os.environ['NAME'])")
    made = job(
        f"/srv/{HOSTILE}/p.toml",
        program=printing,
        env_file=Path(f"/etc/{HOSTILE}"),
        wait=True,
        variables={"NAME": HOSTILE},
    )
    line = crontab.line(made, NIGHTLY)
    assert "\n" not in line
    ran = subprocess.run(
        ["/bin/sh", "-c", as_shell(line)], env={}, capture_output=True, text=True, check=True
    )
    words = ["--env-file", f"/etc/{HOSTILE}", "run", "--quiet", "--wait", f"/srv/{HOSTILE}/p.toml"]
    assert ran.stdout == f"{words} {HOSTILE}\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "a\tb", "a\x1bb", "a\u2028b", "a\udcffb"])
def test_names_that_fit_in_no_line_are_refused(name: str) -> None:
    for changes in ({"path": f"/srv/{name}"}, {"variables": {"RAGCTL_HOME": name}}):
        with pytest.raises(UsageError, match="rename it"):
            job(**changes)


def test_what_cron_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="--systemd"):
        crontab.line(job("/srv/back\\slash.toml"), NIGHTLY)
    with pytest.raises(UsageError, match="--systemd"):
        crontab.line(job(f"/srv/{'long/' * 100}p.toml"), NIGHTLY)


def test_the_own_line_is_replaced_and_no_other() -> None:
    others = b"MAILTO=x\n#c\n\n* * * * * \xff\r\n* * * * * y # ragctl schedule /srv/p.toml.old\n"
    own, longer = job("/srv/p.toml"), job("/other/srv/p.toml")
    table = crontab.with_line(others, own, NIGHTLY)
    table = crontab.with_line(table, longer, NIGHTLY)
    assert table.startswith(others)
    again = crontab.with_line(table, own, every("hour"))
    assert again.count(b"\n") == table.count(b"\n")
    assert again.startswith(others)
    assert crontab.without(crontab.without(again, own), longer) == others
    assert crontab.with_line(b"* * * * * x", own, NIGHTLY).startswith(b"* * * * * x\n")
    assert crontab.without(b"", own) == b""


# The units


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """It finds the program at its hostile path only when it reads the words as they are meant."""
    program = tmp_path / "100% of my; `x` & Ω" / "ragctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = job(
        f"/srv/{HOSTILE}\\/p.toml", program=(str(program),), variables={"RAGCTL_HOME": HOSTILE}
    )
    texts = units.units(made, NIGHTLY)
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in texts)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in ran.stderr.splitlines() if "ragctl" in line]
    assert ours == []
    program.unlink()
    broken = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / f"{units.name(made)}.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(program) in broken.stderr


def test_units_are_quoted() -> None:
    made = job(
        '/srv/a "b" $c 50% \\d\'.toml', wait=True, variables={"RAGCTL_HOME": '/x $y 5% "z" \\'}
    )
    service = units.units(made, NIGHTLY)[f"{units.name(made)}.service"]
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


def test_each_pipeline_has_units_of_its_own() -> None:
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

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RAGCTL, *words],
            env={**self.environ, **environ},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_the_printed_line_works_where_cron_starts_it(shell: Shell, tmp_path: Path) -> None:
    """From another folder, with none of this shell's variables; relative paths were made whole."""
    (tmp_path / "keys.env").write_text("RAGCTL_PDF_PASSWORD=x\n")
    done = shell("--env-file", "keys.env", "schedule", "p.toml", "--at", "02:30")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("30 2 * * * ")
    assert done.stdout.endswith(f" # ragctl schedule {tmp_path}/p.toml\n")
    assert f"--env-file {tmp_path}/keys.env run --quiet {tmp_path}/p.toml" in done.stdout
    cron = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "x"}
    for _ in range(2):
        ran = subprocess.run(
            ["/bin/sh", "-c", as_shell(done.stdout.rstrip("\n"))],
            env=cron,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert shell("status", "-c", "kb").returncode == 0


def test_a_pipeline_is_found_right_before_it_is_scheduled(shell: Shell) -> None:
    (shell.home / "bad.toml").write_text("sources = 3\n")
    for words in (
        ["bad.toml"],
        ["none.toml"],
        ["p.toml", "--install", "--remove"],
        ["p.toml", "--calendar", "0 3 * * *", "--at", "03:15"],
        ["p.toml", "--calendar", "0 3 * *"],
        ["p.toml", "--every", "fortnight"],
    ):
        done = shell("schedule", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.count("\n") == 1, done.stderr


def test_what_only_this_shell_has_is_warned_of(shell: Shell) -> None:
    (shell.home / "p.toml").write_text(
        '[[sources]]\npath = "docs"\n[embedding]\nmodel = "jina-embeddings-v3"\n'
    )
    (shell.home / "keys.env").write_text("JINA_API_KEY=k3y\n")
    warned = shell("schedule", "p.toml", JINA_API_KEY="k3y")
    assert warned.stderr.startswith("warning: JINA_API_KEY is set in this shell only")
    assert "k3y" not in warned.stderr + warned.stdout
    told = shell("--env-file", "keys.env", "schedule", "p.toml", JINA_API_KEY="k3y")
    assert told.stderr == ""
    assert "k3y" not in told.stdout


@pytest.mark.parametrize("name", ["RAGCTL_QDRANT_API_KEY", "QDRANT_API_KEY", "RAGCTL_PDF_PASSWORD"])
@pytest.mark.parametrize("target", [[], ["--systemd"]])
def test_a_secret_of_this_shell_is_warned_of_and_not_written(
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


def test_plain_variables_are_carried(shell: Shell) -> None:
    plain = {"RAGCTL_QDRANT_GRPC_PORT": "6334", "RAGCTL_LEASE_SECONDS": "30"}
    line = shell("schedule", "p.toml", FASTEMBED_CACHE_PATH="models", **plain).stdout
    assert f" FASTEMBED_CACHE_PATH={shell.home}/models " in line
    assert " RAGCTL_LEASE_SECONDS=30 RAGCTL_QDRANT_GRPC_PORT=6334 " in line
    unit = shell("schedule", "p.toml", "--systemd", **plain).stdout
    assert 'Environment="RAGCTL_LEASE_SECONDS=30"' in unit


def test_the_path_of_a_key_command_is_kept(shell: Shell) -> None:
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
        ran = subprocess.run(
            ["/bin/sh", "-c", as_shell(line)], env={}, cwd="/", capture_output=True, check=False
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert f"PATH={path} " in line


def test_units_are_printed_with_their_places(shell: Shell) -> None:
    done = shell("schedule", "p.toml", "--systemd", "--calendar", "Mon *-*-* 04:00:00")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"# {shell.home}/config/systemd/user/ragctl-p-") == 2
    assert "OnCalendar=Mon *-*-* 04:00:00\n" in done.stdout
    assert not (shell.home / "config").exists()


def test_units_are_installed_and_removed_by_hand_where_no_manager_runs(shell: Shell) -> None:
    """Without systemctl: the units are written, and what to run is said."""
    folder = shell.home / "config/systemd/user"
    bare = {"PATH": "/nowhere"}
    done = shell("schedule", "p.toml", "--systemd", "--install", **bare)
    assert done.returncode == 2
    assert (
        "systemctl --user daemon-reload && systemctl --user enable --now ragctl-p-" in done.stderr
    )
    service, timer = sorted(folder.iterdir())
    assert (service.suffix, timer.suffix) == (".service", ".timer")
    other = folder / "other.timer"
    other.write_text("mine")
    timer.write_text("mine too")
    refused = shell("schedule", "p.toml", "--systemd", "--install", **bare)
    assert "was not written by ragctl" in refused.stderr
    assert shell("schedule", "p.toml", "--systemd", "--remove", **bare).returncode == 2
    assert timer.read_text() == "mine too"
    timer.unlink()
    assert shell("schedule", "p.toml", "--systemd", "--remove", **bare).stdout.startswith("removed")
    assert list(folder.iterdir()) == [other]
    gone = shell("schedule", "p.toml", "--systemd", "--remove", **bare)
    assert (gone.returncode, gone.stdout.split(" for ")[0]) == (0, "nothing was installed")


def test_without_crontab_it_says_what_to_install(shell: Shell) -> None:
    done = shell("schedule", "p.toml", "--install", PATH="/nowhere")
    assert done.returncode == 2
    assert "apt-get install cron" in done.stderr
