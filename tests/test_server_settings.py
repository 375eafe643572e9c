"""Server options: in the collection's configuration, in files and flags, and kept to later."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from ragctl.collection.payload import DENSE, Point
from ragctl.collection.server_options import ServerOptions
from ragctl.errors import StoreError, UsageError
from ragctl.pipeline import read_pipeline
from ragctl.pipeline.server import Server
from ragctl.stores import open_store
from ragctl.stores.base import Batch
from ragctl.stores.server import ServerStore
from tests.command import call
from tests.servers.jina import JinaServer
from tests.servers.qdrant import Fault, QdrantFacade
from tests.store_contract import SETTINGS, ident, point, with_dimension
from tests.test_kill import running
from tests.waiting import until
from tests.world import World, paragraphs

EVERYTHING: dict[str, Any] = {
    "shards": 3,
    "replicas": 2,
    "write_consistency": 2,
    "tenant": "customer",
    "vectors_on_disk": False,
    "payload_on_disk": False,
    "hnsw_m": 24,
    "hnsw_ef_construct": 200,
    "hnsw_payload_m": 12,
    "datatype": "float16",
    "defer_indexing": False,
}


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with QdrantFacade(version=getattr(request, "param", "1.18.3")) as facade:
        yield facade


@pytest.fixture
def store(facade: QdrantFacade, tmp_path: Path) -> Iterator[ServerStore]:
    with closing(ServerStore(facade.url, state=tmp_path, patience=2.0)) as store:
        yield store


def physical(facade: QdrantFacade) -> str:
    """Return the name of the only physical collection."""
    (name,) = facade.engine.configs
    return name


def info(facade: QdrantFacade) -> dict[str, Any]:
    found: dict[str, Any] = facade.engine.collection({"name": physical(facade)})
    return found


def graph(facade: QdrantFacade) -> Any:
    return info(facade)["config"]["params"]["vectors"][DENSE].get("hnsw_config")


def created(**options: Any) -> Any:
    return replace(SETTINGS, server=ServerOptions(**options))


def test_the_table_and_the_stored_options_have_the_same_fields() -> None:
    assert [f.name for f in fields(Server)] == [f.name for f in fields(ServerOptions)]


def test_options_reach_the_server(facade: QdrantFacade, store: ServerStore) -> None:
    store.create("docs", created(**EVERYTHING))
    config = info(facade)["config"]
    assert config["params"]["shard_number"] == 3
    assert config["params"]["replication_factor"] == 2
    assert config["params"]["write_consistency_factor"] == 2
    assert config["params"]["on_disk_payload"] is False
    dense = config["params"]["vectors"][DENSE]
    assert (dense["on_disk"], dense["datatype"]) == (False, "float16")
    assert (
        config["hnsw_config"] | {"m": 24, "ef_construct": 200, "payload_m": 12}
        == (config["hnsw_config"])
    )
    tenant = info(facade)["payload_schema"]["meta.customer"]["params"]
    assert (tenant["type"], tenant["is_tenant"]) == ("keyword", True)
    opened = store.open("docs")
    assert opened is not None
    assert opened.settings.server == ServerOptions(**EVERYTHING)


@pytest.mark.parametrize(
    ("facade", "options", "message"),
    [
        ("1.18.3", {"datatype": "turbo4"}, r"Qdrant 1\.18 .* no datatype 'turbo4'; it needs 1\.19"),
        ("1.19.0", {"datatype": "turbo16"}, r"no datatype 'turbo16'; it needs 1\.20"),
    ],
    indirect=["facade"],
)
def test_a_server_that_is_too_old_for_an_option_is_named(
    facade: QdrantFacade, store: ServerStore, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        store.create("docs", created(**options))
    assert not facade.engine.configs


# The HNSW graph during the first run


def test_the_graph_is_built_when_the_first_run_has_ended(
    facade: QdrantFacade, store: ServerStore
) -> None:
    made = store.create("docs", created(hnsw_m=24))
    made.apply(Batch(upserts=[point(1)]))
    assert graph(facade) == {"m": 0, "payload_m": 0}
    assert made.count() == 1
    made.finish()
    assert graph(facade) == {"m": 24, "payload_m": 24}
    patches = facade.requests["PATCH /collections/{name}"]
    made.finish()
    again = store.open("docs")
    assert again is not None
    again.finish()
    assert facade.requests["PATCH /collections/{name}"] == patches


def test_the_run_after_a_killed_one_builds_the_graph(
    facade: QdrantFacade, store: ServerStore
) -> None:
    store.create("docs", SETTINGS)  # and killed before it finished
    following = store.open("docs")
    assert following is not None
    following.finish()
    assert graph(facade) == {"m": 16, "payload_m": 16}


def test_a_run_that_fails_builds_the_graph(facade: QdrantFacade, store: ServerStore) -> None:
    facade.inject(Fault("status", "POST */points/batch", status=400, skip=1))
    with pytest.raises(StoreError), store.lock("docs"):
        store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    assert graph(facade) == {"m": 16, "payload_m": 16}


def test_the_next_command_with_the_lock_builds_the_graph_of_a_killed_run(
    facade: QdrantFacade, store: ServerStore, tmp_path: Path
) -> None:
    store.create("docs", SETTINGS)  # and killed
    with closing(ServerStore(facade.url, state=tmp_path / "b")) as other:
        facade.inject(Fault("status", "PATCH *", status=403, message="Forbidden: Global access"))
        notes: list[str] = []
        with other.lock("docs", waiting=notes.append):
            other.open("docs")
        assert "HNSW graph is not built" in notes[0]
        assert graph(facade) == {"m": 0, "payload_m": 0}
    with closing(ServerStore(facade.url, state=tmp_path / "c")) as last:
        with last.lock("docs"):
            last.open("docs")
        assert graph(facade) == {"m": 16, "payload_m": 16}
        patches = facade.requests["PATCH /collections/{name}"]
        with last.lock("docs"):
            last.open("docs")
        assert facade.requests["PATCH /collections/{name}"] == patches


def test_a_deferral_ends_only_with_the_lock_of_its_generation(
    facade: QdrantFacade, store: ServerStore
) -> None:
    def deferred(place: str) -> bool:
        config = facade.engine.collection({"name": place})["config"]
        return bool(config["params"]["vectors"][DENSE]["hnsw_config"]["m"] == 0)

    store.create("docs", SETTINGS).finish()
    with store.lock("docs", generation=2):
        store.create_generation("docs", SETTINGS)
        with store.lock("docs"):
            store.open("docs")
        assert deferred("docs@2")
    assert not deferred("docs@2")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ingest_builds_the_graph(
    facade: QdrantFacade, host: JinaServer, tmp_path: Path, sent: signal.Signals
) -> None:
    (tmp_path / "docs").mkdir()
    world = World(tmp_path / "docs", facade.url, host)
    for number in range(40):
        world.write(f"{number}.md", paragraphs(*(f"valve {number}.{k}" for k in range(40))))
    facade.inject(Fault("slow", "POST */points/batch", times=1000, seconds=0.5))
    with running(world) as process:
        until(lambda: facade.engine.points_upserted > 0)
        process.send_signal(sent)
        process.wait(60)
    assert process.returncode == 130
    assert facade.requests["PATCH /collections/{name}"] == 1
    assert graph(facade) == {"m": 16, "payload_m": 16}


def test_a_tenants_graph_is_restored_without_one_over_all_points(
    facade: QdrantFacade, store: ServerStore
) -> None:
    made = store.create("docs", created(tenant="customer", hnsw_m=0, hnsw_payload_m=8))
    assert graph(facade) == {"m": 0, "payload_m": 0}
    made.finish()
    assert graph(facade) == {"m": 0, "payload_m": 8}
    again = store.open("docs")
    assert again is not None
    again.finish()
    assert facade.requests["PATCH /collections/{name}"] == 1


def test_a_graph_that_is_not_deferred_is_left_alone(
    facade: QdrantFacade, store: ServerStore
) -> None:
    store.create("docs", created(defer_indexing=False)).finish()
    assert graph(facade) is None
    assert facade.requests["PATCH /collections/{name}"] == 0


def test_a_key_that_may_not_change_the_collection_gets_a_note(
    facade: QdrantFacade, store: ServerStore
) -> None:
    made = store.create("docs", SETTINGS)
    facade.inject(
        Fault("status", "PATCH *", status=403, message="Forbidden: Global access is required")
    )
    notes: list[str] = []
    made.finish(notify=notes.append)
    assert len(notes) == 1
    assert "HNSW graph is not built" in notes[0]
    made.finish(notify=notes.append)
    assert graph(facade) == {"m": 16, "payload_m": 16}


# Payload indexes


def test_a_new_collection_gets_the_indexes_that_ingest_needs(
    facade: QdrantFacade, store: ServerStore
) -> None:
    store.create("docs", SETTINGS)
    needed = {"source", "version", "text_hash", "mark", "lease"}
    assert {key for key in info(facade)["payload_schema"] if "." not in key} == needed
    assert facade.requests["PUT /collections/{name}/index"] == len(needed) + len(SETTINGS.fields)


def test_strict_mode_gets_an_index_for_every_filter(
    facade: QdrantFacade, store: ServerStore
) -> None:
    facade.engine.strict_mode = {"enabled": True, "unindexed_filtering_retrieve": False}
    store.create("docs", SETTINGS)
    assert {"page", "ordinal", "lang", "title", "file"} <= set(info(facade)["payload_schema"])


# Files and flags


def pipeline_file(folder: Path, table: str, store: str = "http://127.0.0.1:9") -> Path:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "a.md").write_text("# Alpha\n\nThe first letter of the Greek alphabet.\n")
    file = folder / "p.toml"
    file.write_text(
        f'store = "{store}"\n[[sources]]\npath = "docs"\n[server]\n{table}\n', encoding="utf-8"
    )
    return file


def test_a_file_gives_every_option(tmp_path: Path) -> None:
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in EVERYTHING.items())
    pipeline = read_pipeline(pipeline_file(tmp_path, table), {})
    assert pipeline.server.options() == ServerOptions(**EVERYTHING)


@pytest.mark.parametrize(
    ("table", "store", "message"),
    [
        ("shards = 0", "http://h", "shards must be 1 or more"),
        ("shards = 2", "folder", "shards is for collections on a Qdrant server"),
        ('datatype = "float64"', "http://h", "datatype cannot be 'float64'"),
        ("hnsw_payload_m = 16", "http://h", "hnsw_payload_m needs a tenant"),
        ("write_consistency = 2", "http://h", "is 2, more than the number of replicas, 1"),
        ('tenant = "a b"', "http://h", "tenant must have letters"),
        ('tenant = "n"\n[fields]\nn = "integer"', "http://h", "needs a keyword field"),
    ],
)
def test_mistakes_in_the_table_are_named(
    tmp_path: Path, table: str, store: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_pipeline(pipeline_file(tmp_path, table, store), {})


@pytest.mark.slow
def test_a_run_keeps_to_the_options_of_its_collection(facade: QdrantFacade, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}

    def ragctl(*words: str) -> CompletedProcess[str]:
        return call(*words, environ=environ, cwd=tmp_path)

    table = 'shards = 3\nreplicas = 2\ndatatype = "float16"\ntenant = "customer"'
    file = pipeline_file(tmp_path, table, facade.url)
    planned = ragctl("plan", str(file))
    assert "on the server: shards 3, replicas 2, tenant customer, datatype float16" in (
        planned.stdout
    )
    first = ragctl("run", str(file), "--dry-run")
    assert "on the server: shards 3" in first.stdout
    facade.inject(Fault("status", "PATCH *", status=403, message="Forbidden"))
    ran = ragctl("run", str(file))
    assert ran.returncode == 0
    assert "HNSW graph is not built" in ran.stderr
    assert graph(facade) == {"m": 0, "payload_m": 0}
    assert ragctl("run", str(file)).returncode == 0  # has nothing else to do
    assert graph(facade) == {"m": 16, "payload_m": 16}
    with closing(open_store(facade.url, environ={})) as store:
        found = store.open("docs")
        assert found is not None
        assert found.settings.fields == {"customer": "keyword"}
    again = ragctl("run", str(file))
    assert (again.returncode, "nothing to do" in again.stdout or "unchanged" in again.stdout) == (
        0,
        True,
    )
    pipeline_file(tmp_path, "shards = 4", facade.url)
    other = ragctl("run", str(file))
    assert other.returncode == UsageError.exit_code
    assert "the collection was made with 3, this run says 4" in other.stderr
    assert other.stderr.endswith(f"move the collection: ragctl migrate {file}\n")
    flags = ragctl("ingest", "docs", "--replicas", "3", "--store", facade.url)
    assert "--replicas: the collection was made with 2, this run says 3" in flags.stderr
    command = f"ragctl migrate docs --store {facade.url} --replicas 3"
    assert flags.stderr.endswith(f"move the collection: {command}\n")


# Status, and the key for reading


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    return lambda *words, **more: call(*words, environ={**environ, **more}, cwd=tmp_path)


def test_status_shows_shards_and_the_graph(
    facade: QdrantFacade, store: ServerStore, shell: Callable[..., CompletedProcess[str]]
) -> None:
    made = store.create("docs", created(shards=3))
    printed = shell("status", "--store", facade.url).stdout
    assert re.search(r"^shards +3 \(3 replicas in all\)$", printed, re.MULTILINE)
    assert re.search(r"^optimiser +green$", printed, re.MULTILINE)
    assert re.search(
        r"^HNSW graph +0 vectors; its building is deferred until a run ends", printed, re.MULTILINE
    )
    made.finish()
    found = json.loads(shell("status", "--store", facade.url, "--json").stdout)["server"]
    assert found == {
        "optimizer": "green",
        "optimizer_error": None,
        "indexed_vectors": 0,
        "graph_deferred": False,
        "replicas": [{"shard": n, "node": 1001, "state": "active"} for n in range(3)],
    }


def test_status_names_a_dead_replica(tmp_path: Path) -> None:
    with (
        QdrantFacade(nodes=2, replicas=2) as facade,
        closing(ServerStore(facade.url, state=tmp_path, patience=2.0)) as store,
    ):
        made = store.create("docs", SETTINGS)
        facade.cluster.dead.add((physical(facade), 1))
        state = made.server_state()
        assert state.shards is not None
        assert [each.state for each in state.shards] == ["active", "dead"]
        facade.cluster.dead.clear()


def test_status_works_without_the_right_to_read_the_cluster(
    facade: QdrantFacade, store: ServerStore, shell: Callable[..., CompletedProcess[str]]
) -> None:
    store.create("docs", SETTINGS)
    facade.inject(
        Fault("status", "GET */cluster", status=403, message="Forbidden", times=2),
    )
    done = shell("status", "--store", facade.url)
    assert done.returncode == 0
    assert "not known: the key may not read the state of the cluster" in done.stdout
    found = json.loads(shell("status", "--store", facade.url, "--json").stdout)["server"]
    assert found["replicas"] is None


def test_commands_that_read_use_the_key_for_reading(
    facade: QdrantFacade, store: ServerStore, shell: Callable[..., CompletedProcess[str]]
) -> None:
    store.create("docs", SETTINGS)
    facade.api_key = "reader"
    keys = {"RAGCTL_QDRANT_SEARCH_KEY": "reader", "QDRANT_API_KEY": "writer"}
    for words in (["status"], ["collections"], ["verify"], ["failures"]):
        done = shell(*words, "--store", facade.url, **keys)
        assert done.returncode == 0, done.stderr
    refused = shell("delete", "--all", "--yes", "--store", facade.url, **keys)
    assert refused.returncode == StoreError.exit_code
    assert "refused the key in QDRANT_API_KEY" in refused.stderr
    wrong = shell("status", "--store", facade.url, **{**keys, "RAGCTL_QDRANT_SEARCH_KEY": "other"})
    assert "refused the key in RAGCTL_QDRANT_SEARCH_KEY" in wrong.stderr


# Vectors


@pytest.mark.parametrize(
    ("options", "stored"), [({}, np.float32), ({"datatype": "float16"}, np.float16)]
)
def test_vectors_come_back_bit_for_bit_as_the_server_stores_them(
    store: ServerStore, options: dict[str, Any], stored: Any
) -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings = replace(with_dimension(SETTINGS, 64), server=ServerOptions(**options))
    made = store.create("docs", settings)
    made.apply(Batch(upserts=[Point(ident(n), {"source": "a"}, v) for n, v in enumerate(vectors)]))
    found = {each.id: each.dense for each in made.scroll(vectors=True)}
    for n, vector in enumerate(vectors):
        back = found[ident(n)]
        assert back is not None
        assert back.tobytes() == vector.astype(stored).astype(np.float32).tobytes()
