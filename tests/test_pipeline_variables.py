"""${NAME} is expanded in hosts and secrets, and refused in other values."""

from pathlib import Path

import pytest

from ragctl.errors import UsageError
from ragctl.pipeline import Pipeline, read_pipeline
from ragctl.pipeline.variables import Unresolved, expand, has_variables

SECRET = "hush-hush"
ENVIRON = {"RAGCTL_HOME": "/home", "HOST": "qdrant.test", "TOKEN": SECRET, "EMPTY": ""}


def read_text(folder: Path, text: str) -> Pipeline:
    path = folder / "p.toml"
    path.write_text(text + "\n[[sources]]\npath = '.'\n" if "sources" not in text else text)
    return read_pipeline(path, ENVIRON)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("http://${HOST}:6333", "http://qdrant.test:6333"),
        ("${HOST}/${HOST}", "qdrant.test/qdrant.test"),
        ("$HOST and $", "$HOST and $"),
        ("$${HOST}", "${HOST}"),
        ("${TOKEN}", SECRET),
    ],
)
def test_variables_are_expanded(text: str, value: str) -> None:
    assert expand(text, ENVIRON) == value


def test_the_value_of_a_variable_is_not_expanded_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "no"}) == "${B}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${GONE}", "environment variable GONE, which is not set"),
        ("${EMPTY}", "environment variable EMPTY, which is not set"),
        ("${HOST", "without its }"),
        ("${}", "names no variable"),
        ("${a b}", "names no variable"),
        ("${HOST:-x}", "names no variable"),
    ],
)
def test_variables_that_cannot_be_expanded_are_reported(text: str, problem: str) -> None:
    with pytest.raises(Unresolved, match=problem):
        expand(text, ENVIRON)


def test_an_escaped_dollar_is_not_a_variable() -> None:
    assert has_variables("x${Y}")
    assert not has_variables("x$${Y} $Y")


def test_hosts_and_secrets_may_have_variables(tmp_path: Path) -> None:
    pipeline = read_text(
        tmp_path,
        """
        store = "https://${HOST}:6333"
        [embedding]
        model = "bge-m3"
        [[embedding.backends]]
        backend = "ollama"
        base_url = "http://${HOST}:11434"
        [report]
        on_success = "https://ping.test/${TOKEN}"
        on_failure = "https://ping.test/${TOKEN}/fail"
        [[sources]]
        path = "."
        """,
    )
    assert pipeline.store == "https://qdrant.test:6333"
    assert pipeline.embedding.backends[0].base_url == "http://qdrant.test:11434"
    assert pipeline.reporting.on_failure == f"https://ping.test/{SECRET}/fail"
    assert SECRET not in repr(pipeline)


def test_variables_may_come_from_an_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OWN=own.test\nHOST=other.test\n")
    pipeline = read_text(tmp_path, 'env_file = ".env"\nstore = "http://${OWN}:1/${HOST}"')
    # Variables already set take precedence.
    assert pipeline.store == "http://own.test:1/qdrant.test"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nstore = '${GONE}'", "line 2: store needs the environment variable GONE"),
        ("collection = '${HOST}'", "line 1: collection takes no"),
        ("env_file = '${HOST}'", "line 1: env_file takes no"),
        ("[report]\nreport_file = '${HOST}'", r"line 2, table \[report\]: report_file takes no"),
        ("[report]\nmetrics_file = '${HOST}'", "line 2.*metrics_file takes no"),
        ("[embedding]\nweights = '${HOST}'", "line 2.*weights takes no"),
        ("[[sources]]\npath = '${HOST}'", r"line 2, table \[sources 1\]: path takes no"),
        ("[embedding]\nmodel = '${HOST}'", "line 2.*model takes no"),
    ],
)
def test_variables_in_other_values_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "store = 'ftp://${TOKEN}'",
        "[embedding]\nbase_url = '${TOKEN}'",
        "[embedding]\nbase_url = 'https://h.test/?key=${TOKEN}'",
        "[report]\non_success = '${TOKEN}'",
    ],
)
def test_the_value_of_a_variable_is_never_printed(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"p\.toml, line \d") as info:
        read_text(tmp_path, text)
    assert SECRET not in str(info.value)


def test_patterns_and_metadata_are_not_expanded(tmp_path: Path) -> None:
    pipeline = read_text(
        tmp_path, "[meta]\nnote = '${HOST}'\n[[sources]]\npath = '.'\nexclude = ['${X}']"
    )
    assert pipeline.meta == {"note": "${HOST}"}
    assert pipeline.sources[0].exclude == ("${X}",)
