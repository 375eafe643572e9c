"""Servers that answer to any name with the one model that they run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ragctl.catalog import BackendConfig
from ragctl.check import check_pipeline
from ragctl.embedding import Embedder, connect
from ragctl.embedding.served_model import ModelNames, base_name
from ragctl.errors import BackendError
from ragctl.pipeline import Embedding
from tests.servers.host import Job, Refusal
from tests.servers.openai import OpenAIServer
from tests.world import World

NAMES = ModelNames.of(
    {"bge-m3", "BAAI/bge-m3", "voyage-3"}, {"voyage-3-lite", "sentence-transformers/LaBSE"}
)


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("bge-m3", True),
        ("BAAI/bge-m3", True),
        ("bge-m3:latest", True),
        ("/models/bge-m3", True),
        ("/models/bge-m3-q8_0.gguf", True),
        ("voyage-3", True),
        ("voyage-3-lite", False),
        ("LaBSE", False),
        ("intfloat/multilingual-e5-small", False),
        ("/models/LaBSE-q8_0.gguf", False),
        ("/models/voyage-3-lite-q8_0.gguf", False),
        ("/models/current", None),
        ("C:\\models\\current", None),
    ],
)
def test_names(name: str, matches: bool | None) -> None:
    assert NAMES.matches(name) is matches


def test_base_name() -> None:
    assert base_name("hf.co/Qwen/Qwen3-Embedding-8B-GGUF") == "qwen3-embedding-8b-gguf"


class OneModelServer(OpenAIServer):
    """A server that embeds with `runs`, whatever the request names, and may say so."""

    def __init__(self, runs: str, *, says: bool, lists: Sequence[str] = ()) -> None:
        super().__init__(like="infinity")
        self.runs, self.says, self.lists = runs, says, lists

    def answer(self, job: Job) -> tuple[list[dict[str, object]], dict[str, object]]:
        items, rest = super().answer(job)
        rest.pop("model", None)
        return items, rest | ({"model": self.runs} if self.says else {})

    def get(self, path: str) -> object:
        if path.endswith("/models") and self.lists:
            return {"object": "list", "data": [{"id": name} for name in self.lists]}
        raise Refusal(404, "Not Found")


def connected(server: OpenAIServer) -> Embedder:
    return connect(
        "multilingual-e5-small",
        backends=[BackendConfig("infinity", server.url)],
        environ={},
    )


MINILM = "sentence-transformers/all-MiniLM-L6-v2"
E5 = "intfloat/multilingual-e5-small"


@pytest.mark.parametrize(
    ("says", "lists"), [(True, []), (False, [MINILM]), (False, [MINILM, "BAAI/bge-m3"])]
)
def test_another_model_is_refused(says: bool, lists: list[str]) -> None:
    with (
        OneModelServer(MINILM, says=says, lists=lists) as server,
        connected(server) as embedder,
        pytest.raises(BackendError, match=f"runs {MINILM}, not {E5}"),
    ):
        embedder.documents(["a text"])


@pytest.mark.parametrize("lists", [[], [E5], [MINILM, E5], ["/weights/current"]])
def test_the_model_is_accepted_by_its_names(lists: list[str]) -> None:
    with OneModelServer(E5, says=True, lists=lists) as server, connected(server) as embedder:
        assert embedder.documents(["a text", "another"]).shape == (2, 384)
        assert embedder.query("a question").shape == (384,)
        # Once each: the models, /info, and what is behind a name that is listed.
        assert len(server.gets) == (3 if E5 in lists else 2)


@pytest.mark.parametrize("status", [200, 500])
def test_an_unusable_list_of_models_says_nothing(status: int) -> None:
    class Unlisted(OneModelServer):
        def get(self, path: str) -> object:
            raise Refusal(status, "no list here")

    with Unlisted(E5, says=True) as server, connected(server) as embedder:
        assert embedder.documents(["a text"]).shape == (1, 384)


UNNAMED = "it does not state which model it runs"


@pytest.mark.parametrize(
    ("says", "lists", "warned"),
    [(True, [], False), (False, [E5], False), (False, [], True), (False, ["/weights/x"], True)],
)
def test_a_server_without_a_name_is_pointed_out(
    says: bool, lists: list[str], warned: bool, tmp_path: Path
) -> None:
    """Once for each run that sends texts, and in a check."""
    with OneModelServer(E5, says=says, lists=lists) as server:
        (tmp_path / "docs").mkdir()
        backend = BackendConfig("infinity", server.url)
        world = World(tmp_path / "docs", str(tmp_path / "store"), server)  # type: ignore[arg-type]
        embedding = Embedding("multilingual-e5-small", None, (backend,))
        world.write("a.md", "The valve opens at three bar.")
        told = [
            f"{each.source}: {each.error}" for each in world.ingest(embedding=embedding).warnings
        ]
        assert [UNNAMED in line for line in told] == [True] * warned
        assert world.ingest(embedding=embedding).warnings == []  # nothing was sent
        (report,) = check_pipeline(world.pipeline(embedding=embedding)).backends
        notes = [finding.text for finding in report.findings if finding.status == "note"]
        assert any(UNNAMED in text for text in notes) is warned


@pytest.mark.parametrize(
    ("behind", "refused"),
    [(f"openai/{MINILM}", True), (f"openai/{E5}", False), ("azure/a-deployment", False)],
)
def test_the_model_behind_an_alias(behind: str, refused: bool) -> None:
    """LiteLLM repeats its alias in every answer, and says at /v1/model/info what it stands for."""

    class Proxy(OneModelServer):
        def get(self, path: str) -> object:
            if path.endswith("/model/info"):
                others = {"model_name": "another", "litellm_params": {"model": f"openai/{MINILM}"}}
                own = {"model_name": E5, "litellm_params": {"model": behind}}
                return {"data": [others, own, "rubbish", {"model_name": E5}]}
            return super().get(path)

    with Proxy(E5, says=True, lists=[E5]) as server, connected(server) as embedder:
        if refused:
            with pytest.raises(BackendError, match=f"runs {behind} behind the alias {E5}, not"):
                embedder.documents(["a text"])
        else:
            assert embedder.documents(["a text"]).shape == (1, 384)
