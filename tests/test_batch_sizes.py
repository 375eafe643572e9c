"""The batch size that a backend takes is kept with the collection, for the next run."""

import time
from contextlib import closing

from ragctl.collection.notes import BatchSize
from ragctl.index.embedder import LEARNED_DAYS
from tests.servers.host import Job, Refusal
from tests.servers.jina import JinaServer
from tests.world import KEY, World

LIMIT = 3


class SmallServer(JinaServer):
    """A host behind a proxy that gives up on more than LIMIT texts."""

    def parse(self, body: object) -> Job:
        job = super().parse(body)
        if len(job.texts) > LIMIT:
            raise Refusal(524, "no answer in time")
        return job


def write_files(world: World, name: str) -> None:
    for number in range(8):
        world.write(f"{name}{number}.md", f"# {name} {number}\n\nA text about {name}.\n")


def test_next_run_starts_with_the_size_that_passed(edge_world: World) -> None:
    with SmallServer(KEY) as server:
        edge_world.server = server
        write_files(edge_world, "pump")
        assert edge_world.ingest().documents.added == 8
        sizes = [len(request.body["input"]) for request in server.requests]
        assert max(sizes) > LIMIT
        with closing(edge_world.open()) as collection:
            (size,) = collection.notes()["batch_sizes"].values()
            assert size["texts"] == 2
        server.requests.clear()
        write_files(edge_world, "valve")
        assert edge_world.ingest().documents.added == 8
        sizes = [len(request.body["input"]) for request in server.requests]
        assert max(sizes[1:]) == 2  # the first request checks the canary texts
        with closing(edge_world.open()) as collection:
            old: BatchSize = {
                "texts": 2,
                "learned": round(time.time()) - LEARNED_DAYS * 86_400 - 1,
            }
            collection.note({"batch_sizes": dict.fromkeys(collection.notes()["batch_sizes"], old)})
        server.requests.clear()
        write_files(edge_world, "boiler")
        edge_world.ingest()
        assert max(len(request.body["input"]) for request in server.requests[1:]) > LIMIT
