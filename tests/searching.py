"""Open the collection of a World for searching."""

from ragctl.search.library import Searcher, open_collection
from tests.world import World


def searcher(world: World) -> Searcher:
    return open_collection(world.collection, store=world.store, environ=world.environ)
