"""`ragctl check --certify`: every fault of a server with real weights is named, and no other."""

import json
import shlex
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl.catalog import BackendConfig
from ragctl.check.certify import texts
from ragctl.check.certify.properties import PROPERTIES
from ragctl.check.certify.reference import Reference
from ragctl.check.findings import BackendReport
from ragctl.index.embedder import add_canary, connect_for, new_settings
from ragctl.pipeline import Embedding, Pipeline, Source
from ragctl.stores import open_store
from tests import certifying, command, runtime_models
from tests.certifying import PLAIN, by_status, certify, jittering, texts_sent
from tests.servers import certified
from tests.servers.certified import CertifiedServer, Faults, wrong_way
from tests.servers.host import Job, Refusal
from tests.servers.minilm import Way

pytestmark = pytest.mark.slow

RUNS = 1  # of a right server with jitter, for each kind of reference; float16, then bfloat16
SOAK_RUNS = 1000


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    runtime_models.minilm()


@pytest.fixture(scope="module")
def other() -> Reference:
    """Another backend, or a collection: vectors alone."""
    return certifying.reference()


@pytest.fixture(scope="module")
def local() -> Reference:
    """A model in this process, which shows what each fault does."""
    return certifying.local_reference()


FAULTS: Mapping[str, tuple[Faults, str]] = {
    "dropped dimension": (Faults(drops=True), "dimension"),
    "padding": (Faults(pads=100), "padding"),
    "padding of less than an eighth": (Faults(pads=115), "padding"),
    "task ignored": (Faults(sides=certified.same_side), "task"),
    "not normalised": (Faults(unit=False), "norm"),
    "reversed": (Faults(order=certified.reverse), "order"),
    "rotated": (Faults(order=certified.rotate), "order"),
    "sorted by length": (Faults(order=certified.by_length), "order"),
    "two exchanged": (Faults(order=certified.swap_last), "order"),
    "padding read as text": (wrong_way(masked=False), "batch"),
    "cut to 64 tokens": (replace(wrong_way(limit=64), cuts=True), "truncation"),
    "cut to 150 tokens": (replace(wrong_way(limit=150), cuts=True), "truncation"),
    "another name": (Faults(name="intfloat/multilingual-e5-small"), "model"),
}
"""Faults that show without a reference, and the property that must fail."""

COMPARED: Mapping[str, tuple[Faults, str]] = {
    "sides exchanged": (Faults(sides=certified.other_side), "task"),
    "no closing token": (wrong_way(eos=False), "eos"),
    "first token": (wrong_way(pooling="cls"), "pooling"),
    "last token": (wrong_way(pooling="last"), "pooling"),
    "6 bits": (wrong_way(bits=6), "quantisation"),
    "5 bits": (wrong_way(bits=5), "quantisation"),
    "another model": (wrong_way(seed=1), "model"),
    "changed weights": (wrong_way(noise=0.05), "quantisation"),
}
"""Faults that show only in a comparison."""


def certified_with(
    faults: Faults, references: list[Reference], *, tokenizes: bool = False
) -> BackendReport:
    with CertifiedServer(faults, tokenizes=tokenizes) as server:
        report = certify(server, references)
    assert texts_sent(server) <= texts.MAX_TEXTS
    assert report.certificate is not None
    assert texts_sent(server) <= report.certificate.texts <= texts.MAX_TEXTS
    assert len(server.embedded) <= report.certificate.requests + 1 <= 10
    assert {finding.what for finding in report.findings} >= {*PROPERTIES}
    return report


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_shows_alone_is_named(name: str, other: Reference) -> None:
    faults, what = FAULTS[name]
    for references in ([], [other]):
        assert list(by_status(certified_with(faults, references), "fail")) == [what]


@pytest.mark.parametrize("name", COMPARED)
def test_a_fault_that_shows_in_a_comparison_is_named(
    name: str, other: Reference, local: Reference
) -> None:
    faults, what = COMPARED[name]
    for reference in (other, local):
        report = certified_with(faults, [reference])
        (text,) = by_status(report, "fail").values()
        assert list(by_status(report, "fail")) == [what]
        assert f"than {reference.name}" in text
    alone = certified_with(faults, [])
    assert by_status(alone, "fail") == {}
    assert {"pooling", "quantisation", "model", "eos"} <= set(by_status(alone, "skip"))


def test_a_model_in_this_process_names_the_pooling_that_is_used(local: Reference) -> None:
    report = certified_with(wrong_way(pooling="cls"), [local])
    assert "pooled as the first token (cosine 1.0000)" in by_status(report, "fail")["pooling"]
    others = by_status(report, "ok")
    assert others["quantisation"] == "the vectors differ by nothing but pooling"
    report = certified_with(wrong_way(bits=4), [local])
    assert list(by_status(report, "fail")) == ["quantisation"]


def test_weights_of_8_bits_are_a_note(other: Reference) -> None:
    report = certified_with(wrong_way(bits=8), [other])
    assert by_status(report, "fail") == {}
    assert "not the same (cosine 0.99" in by_status(report, "note")["quantisation"]


def test_a_default_prompt_of_the_server_shows_in_tokenize(local: Reference) -> None:
    faults = Faults(prompt="Represent this sentence: ")
    for references in ([], [local]):
        report = certified_with(faults, references, tokenizes=True)
        (text,) = by_status(report, "fail").values()
        assert text.startswith("the server puts 'Represent this sentence:' in front of every text")
    hidden = certified_with(faults, [])
    assert by_status(hidden, "fail") == {}
    assert "no /tokenize" in by_status(hidden, "skip")["prompt"]
    twice = certified_with(Faults(prompt=certified.QUERY), [local])
    assert list(by_status(twice, "fail")) == ["prompt"]


def test_a_missing_closing_token_shows_in_tokenize() -> None:
    report = certified_with(wrong_way(eos=False), [], tokenizes=True)
    assert list(by_status(report, "fail")) == ["eos"]


def test_a_changed_revision_shows_in_what_the_server_says(other: Reference) -> None:
    changed = replace(wrong_way(noise=0.05), sha="f" * 40)
    for references in ([], [other]):
        report = certified_with(changed, references, tokenizes=True)
        (text,) = by_status(report, "fail").values()
        assert list(by_status(report, "fail")) == ["revision"]
        assert f"{'f' * 40}, and {certified.SHA} is expected" in text
    same_vectors = certified_with(Faults(sha="f" * 40), [other], tokenizes=True)
    assert by_status(same_vectors, "fail") == {}
    assert "with the same vectors" in by_status(same_vectors, "note")["revision"]


def test_texts_beyond_the_context_that_a_row_calls_refused(other: Reference) -> None:
    with CertifiedServer(Faults(cuts=True), tokenizes=False) as server:
        report = certify(server, [other])
        wanted = certify(server, [other], truncate=True)
    (text,) = by_status(report, "fail").values()
    assert "one of more than 256 tokens" in text
    assert 'Set truncation = "cuts"' in text
    assert by_status(wanted, "fail") == {}
    # A run is safe with what the server states about itself.
    assert by_status(certified_with(Faults(cuts=True), [other], tokenizes=True), "fail") == {}


def test_without_a_reference_the_rest_is_not_checked() -> None:
    lines: list[str] = []
    with CertifiedServer(style="tei") as server:
        report = certify(server, lines=lines)
    assert by_status(report, "fail") == {}
    assert list(by_status(report, "skip")) == ["quantisation", "model"]
    assert "nothing to compare with" in by_status(report, "skip")["model"]
    assert by_status(report, "ok")["revision"] == f"{certified.SHA}, as the server says"
    assert by_status(report, "ok")["pooling"] == "mean, as the server says"
    assert report.certificate is not None
    tokens = report.certificate.estimated_tokens
    assert lines == [
        f"server-tei: sending at most 12 texts, about {tokens:,} tokens (${tokens * 2e-8:.6f})"
    ]
    assert report.certificate.tokens <= tokens


def test_a_host_that_takes_one_text_in_a_request(other: Reference) -> None:
    class OneText(CertifiedServer):
        def parse(self, body: object) -> Job:
            job = super().parse(body)
            if len(job.texts) > 1:
                raise Refusal(413, "batch size 4 > maximum allowed batch size 1")
            return job

    with OneText(wrong_way(pooling="cls"), tokenizes=False) as server:
        report = certify(server, [other])
    assert list(by_status(report, "fail")) == ["pooling"]
    assert {"order", "batch"} <= set(by_status(report, "skip"))
    assert report.certificate is not None
    assert report.certificate.texts <= texts.MAX_TEXTS


def no_false_alarm(runs: range, references: list[Reference]) -> None:
    for run in runs:
        with jittering(run) as server:
            report = certify(server, references)
        assert by_status(report, "fail") == {}, (run, report.findings)
        assert by_status(report, "note") == {}, (run, report.findings)
        assert texts_sent(server) <= texts.MAX_TEXTS


def test_rounding_and_batches_raise_no_alarm(other: Reference, local: Reference) -> None:
    no_false_alarm(range(RUNS), [])
    no_false_alarm(range(RUNS, 2 * RUNS), [other, local])


@pytest.mark.soak
def test_rounding_and_batches_raise_no_alarm_in_1000_runs(local: Reference) -> None:
    """Half of them without a reference; the others with one that is rounded too."""
    rounded = [certifying.reference(wrong_way(dtype=kind)) for kind in ("float16", "bfloat16")]
    for run in range(SOAK_RUNS):
        references: list[Reference] = [[], [local], [rounded[0]], [rounded[1]]][run % 4]
        no_false_alarm(range(run, run + 1), references)


# The command


def rows_file(tmp_path: Path) -> None:
    """Write the rows of the test's catalogue to the user's configuration folder."""
    (tmp_path / "config").mkdir()

    def table(name: str, row: Mapping[str, object]) -> str:
        plain = {key: value for key, value in row.items() if not isinstance(value, Mapping)}
        inner = {key: value for key, value in row.items() if isinstance(value, Mapping)}
        lines = [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
        for key, value in inner.items():
            assert isinstance(value, Mapping)
            pairs = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items())
            lines.append(f"{key} = {{ {pairs} }}")
        return "\n".join(lines) + "\n"

    (tmp_path / "config/models.toml").write_text(table(certifying.PROMPTED, certifying.MODEL))
    (tmp_path / "config/backends.toml").write_text(
        "".join(table(name, row) for name, row in certifying.ROWS.items())
    )


def environ(tmp_path: Path) -> dict[str, str]:
    return {"RAGCTL_HOME": str(tmp_path / "store"), "RAGCTL_CONFIG": str(tmp_path / "config")}


def make_collection(tmp_path: Path, url: str) -> None:
    made = Pipeline(
        sources=(Source(tmp_path),),
        store=str(tmp_path / "store"),
        embedding=Embedding(PLAIN, None, (BackendConfig("server", base_url=url),)),
        environ={},
        catalog=certifying.catalog(),
    )
    with connect_for(made, None, {}) as embedder:
        stored = add_canary(new_settings(made, embedder), embedder)
        with (
            closing(open_store(made.store, environ={})) as store,
            closing(store.create("docs", stored)),
        ):
            pass


def test_the_command_compares_with_the_collection(tmp_path: Path) -> None:
    rows_file(tmp_path)
    with CertifiedServer() as right, CertifiedServer(wrong_way(pooling="cls")) as wrong:
        make_collection(tmp_path, right.url)
        good = command.call(
            *("check", "-c", "docs", "--certify"), environ=environ(tmp_path), cwd=tmp_path
        )
        bad = command.call(
            *("check", "-c", "docs", "--base-url", wrong.url, "--certify", "--json"),
            environ=environ(tmp_path),
            cwd=tmp_path,
        )
    assert good.returncode == 0, good.stdout + good.stderr
    assert "pooling       the vectors are those of the collection (cosine 1.0000)" in good.stdout
    assert good.stderr.startswith("server: sending at most 12 texts, about ")
    assert bad.returncode == 6
    found = json.loads(bad.stdout)
    (backend,) = found["backends"]
    (failure,) = [each for each in backend["findings"] if each["status"] == "fail"]
    assert failure["what"] == "pooling"
    assert backend["certificate"]["texts"] <= 12
    assert backend["certificate"]["compared_with"]["the collection"]["documents"] < 0.6
    assert found["exit_code"] == 6


def test_the_command_compares_with_another_backend(tmp_path: Path) -> None:
    rows_file(tmp_path)
    flags = ("check", "--model", PLAIN, "--backend", "server", "--certify", "--json")
    with CertifiedServer() as right, CertifiedServer(wrong_way(eos=False)) as wrong:
        done = command.call(
            *flags,
            *("--base-url", wrong.url, "--against", f"server-tei={right.url[:-3]}"),
            environ=environ(tmp_path),
            cwd=tmp_path,
        )
        # The right server speaks the other protocol.
        refused = json.loads(done.stdout)
        done = command.call(
            *flags,
            *("--base-url", wrong.url, "--against", f"server={right.url}"),
            environ=environ(tmp_path),
            cwd=tmp_path,
        )
    assert refused["exit_code"] == 4
    assert refused["backends"][0]["backend"] == "against server-tei"
    assert done.returncode == 6
    against, backend = json.loads(done.stdout)["backends"]
    assert against["certificate"] is None
    assert [each["what"] for each in backend["findings"] if each["status"] == "fail"] == ["eos"]


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """They run as they stand, but for the address of the test's server."""
    page = (Path(__file__).parents[1] / "docs" / "check.md").read_text(encoding="utf-8")
    section = page.split("\n## Certify a backend\n")[1]
    block = section.split("```sh\n")[1].split("```")[0].replace("\\\n", "")
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    rows_file(tmp_path)
    (tmp_path / "weights").symlink_to(runtime_models.minilm())
    with CertifiedServer() as right, CertifiedServer(style="tei") as tei:
        make_collection(tmp_path, right.url)
        for words in commands:
            address = ["--base-url", tei.url] if "tei" in words else []
            done = command.call(*words, *address, environ=environ(tmp_path), cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            if "--json" not in words:
                shown = {line.split()[2] for line in done.stdout.splitlines()[:-1]}
                assert set(PROPERTIES) <= shown
    assert ["--certify" in words for words in commands] == [True, True, True]
    listed = [row.split("`")[1] for row in section.splitlines() if row.startswith("| `")]
    assert listed == list(PROPERTIES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "tei"], "--against needs --certify"),
        (["--certify", "--against", "=x"], "expected NAME, NAME=URL or NAME=FOLDER"),
        (["--certify", "--against", "tei="], "expected NAME, NAME=URL or NAME=FOLDER"),
    ],
)
def test_wrong_flags(tmp_path: Path, words: list[str], message: str) -> None:
    done = command.call("check", "--model", "builtin", *words, environ={}, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_builtin_model_and_an_unknown_reference(tmp_path: Path) -> None:
    done = command.call(
        *("check", "--model", "builtin", "--certify", "--against", "nowhere"),
        environ=environ(tmp_path),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "FAIL  against nowhere  backend" in done.stdout
    done = command.call("check", "--certify", environ=environ(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(" dimensions: all good; 2 not checked\n")


def test_ways_differ() -> None:
    """The server's model is that of the tests: each way has its own vectors."""
    ways = [Way(), *(faults.way for faults, _ in COMPARED.values() if faults.way != Way())]
    assert len({certified.computed(("a text",), way).tobytes() for way in ways}) == len(ways)
