"""Where API keys are read from, and that they are not shown anywhere."""

import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl.catalog import Backend, BackendConfig
from ragctl.embedding import connect
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import BackendError
from ragctl.hosts.keys import ApiKey, Environment, find_key
from tests.servers.jina import JinaServer

SECRET = "jina_" + "s3cr3t" * 10
JINA = package_catalog().backend("jina")


def with_key_command(*command: str, backend: Backend = JINA) -> Backend:
    return replace(backend, key_command=command)


def python_command(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def error_text(raises: Callable[[], object]) -> str:
    """Return an error's message and traceback with the locals of all frames below the test's."""
    with pytest.raises(BackendError) as caught:
        raises()
    frames = caught.value.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    assert frames is not None, "it was raised in the test itself"
    error = caught.value.with_traceback(frames)
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.parametrize("variable", JINA.keys)
def test_key_is_read_from_each_known_variable(variable: str) -> None:
    environ = dict.fromkeys(JINA.keys, "") | {variable: f" {SECRET}\n"}
    key = find_key(JINA, environ)
    assert key is not None
    assert (key.variable, key.reveal()) == (variable, SECRET)


def test_command_precedes_the_first_variable_that_is_set() -> None:
    environ = {JINA.keys[1]: "second", JINA.keys[0]: "first", "ANY": SECRET}
    key = find_key(JINA, environ)
    assert key is not None
    assert key.reveal() == "first"
    printing = with_key_command(*python_command("import os; print(os.environ['ANY'])"))
    key = find_key(printing, environ)
    assert key is not None
    assert (key.reveal(), key.variable) == (SECRET, f"the key command {sys.executable!r}")


def test_missing_key_is_an_error_only_if_required() -> None:
    assert find_key(replace(JINA, key_required=False), {}) is None
    with pytest.raises(
        BackendError, match=r"jina needs a key: set JINA_API_KEY \(or JINA_AI_API_TOKEN, "
    ):
        find_key(JINA, {"OTHER": SECRET})


def test_command_runs_without_a_shell(tmp_path: Path) -> None:
    """Each argument is passed literally: no expansion, no chaining of commands."""
    script = tmp_path / "key.py"
    script.write_text(
        "import sys; assert sys.argv[1:] == ['$HOME', '; echo x', '*']; print('all-as-written')"
    )
    key = find_key(with_key_command(sys.executable, str(script), "$HOME", "; echo x", "*"), {})
    assert key is not None
    assert key.reveal() == "all-as-written"


def test_first_non_empty_output_line_of_a_command_is_used() -> None:
    key = find_key(
        with_key_command(*python_command(f"print(); print(' {SECRET} '); print('name: me')")), {}
    )
    assert key is not None
    assert key.reveal() == SECRET


@pytest.mark.parametrize(
    ("command", "expected_message"),
    [
        (("no-such-program-anywhere",), "cannot be run: No such file or directory"),
        (("/",), "cannot be run: Permission denied"),
        (("nul\0",), "cannot be run: embedded null byte"),
        (
            python_command(f"print('{SECRET}'); raise SystemExit(3)"),
            "ended with status 3; run it by hand",
        ),
        (python_command("import os; os.kill(os.getpid(), 9)"), "ended with status -9"),
        (
            python_command(f"import sys; sys.stderr.write('{SECRET}')"),
            "printed no key; run it by hand",
        ),
        (python_command("print('  ')"), "printed no key"),
        (python_command(f"print('{SECRET} and more')"), "printed characters that no key has"),
        (
            python_command(f"import os; os.write(1, b'\\xff\\xfe{SECRET}\\n')"),
            "printed characters that no key has",
        ),
        (
            python_command(f"import os; os.write(1, b'{SECRET}\\x00x')"),
            "printed characters that no key",
        ),
        (python_command("print('ключ')"), "printed characters that no key has"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_command_without_a_valid_key_raises(
    command: tuple[str, ...], expected_message: str
) -> None:
    environ = {"JINA_API_KEY": SECRET}
    text = error_text(lambda: find_key(with_key_command(*command), environ))
    assert f"the key command {command[0]!r} {expected_message}" in text
    assert SECRET not in text


def test_command_that_times_out_raises() -> None:
    waiting = with_key_command(
        *python_command(f"import time; print('{SECRET}', flush=True); time.sleep(60)")
    )
    began = time.monotonic()
    text = error_text(lambda: find_key(waiting, {}, seconds=0.3))
    assert time.monotonic() - began < 30
    assert "did not end within 0.3 s" in text
    assert SECRET not in text


@pytest.mark.parametrize("value", [SECRET + " x", SECRET + "\nx", SECRET + "ключ", SECRET + "\0"])
def test_invalid_key_in_a_variable_raises(value: str) -> None:
    text = error_text(lambda: find_key(JINA, {"JINA_API_KEY": value}))
    assert "the value of JINA_API_KEY has characters that no key has" in text
    assert SECRET not in text


def test_connect_error_does_not_show_the_environment() -> None:
    """The environment also holds other programs' secrets."""
    environ = {"OTHER_TOKEN": SECRET, "JINA_API_KEY": ""}
    text = error_text(lambda: connect("jina-embeddings-v3", environ=environ))
    assert "set JINA_API_KEY" in text
    assert "<2 variables of the environment>" in text
    assert SECRET not in text
    with pytest.raises(KeyError, match=r"^'MISSING'$"):
        Environment(environ)["MISSING"]


def test_objects_that_hold_a_key_do_not_print_it() -> None:
    key = ApiKey("JINA_API_KEY", SECRET)
    config = BackendConfig("jina", key_command=("printer", SECRET))
    with JinaServer(SECRET) as server:
        environ = {"JINA_API_KEY": SECRET}
        with connect(
            "jina-embeddings-v3",
            dim=32,
            backends=[BackendConfig(base_url=server.url)],
            environ=environ,
        ) as embedder:
            embedder.query("text")
            printed = [key, config, with_key_command(SECRET), Environment(environ), embedder.usage]
            assert SECRET not in f"{printed} {vars(embedder)} {key.digest}"


def test_key_digests_distinguish_keys() -> None:
    one, same, other = ApiKey("A", SECRET), ApiKey("B", SECRET), ApiKey("A", SECRET + "x")
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("command", [False, True], ids=["variable", "command"])
def test_key_over_plain_http_warns(command: bool) -> None:
    config = BackendConfig(
        "jina",
        "http://host.test/v1",
        key_command=python_command(f"print('{SECRET}')") if command else (),
    )
    with pytest.warns(
        UserWarning, match="over plain http, where others on the network can read it"
    ) as seen:
        connect("jina-embeddings-v3", backends=[config], environ={"JINA_API_KEY": SECRET}).close()
    [warning] = seen
    assert SECRET not in str(warning.message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        safe = replace(config, base_url="https://host.test/v1")
        connect("jina-embeddings-v3", backends=[safe], environ={"JINA_API_KEY": SECRET}).close()
