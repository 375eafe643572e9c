"""`ragctl status`: what a collection holds and how it was made."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ragctl.cli import console
from ragctl.cli.options import AsJson, CollectionName, StoreLocation, opened
from ragctl.cli.others import listed, other_collections
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.collection.notes import BatchJobNote, SourcePlace
    from ragctl.collection.origin import Origin
    from ragctl.collection.settings import Settings
    from ragctl.collection.state import State
    from ragctl.records import Json
    from ragctl.stores.base import Generation, ServerState

_MAX_LISTED = 5  # documents or folders named in one line
_LABEL_WIDTH = 12
_OTHER_LINES = 3  # the command, an empty line above the charts, and the prompt


@dataclass(frozen=True, slots=True)
class _Status:
    """The output of `status`.

    `languages`: documents by language code. `points`: all points. `models`: those that wrote
    vectors. `others`: collections of the same folder.
    """

    collection: str
    store: str
    settings: "Settings"
    state: "State"
    places: "Mapping[str, SourcePlace]"
    languages: Mapping[str, int]
    points: int
    models: Sequence[str]
    server: "ServerState | None"
    generations: "Sequence[Generation]"
    others: list[str]
    batches: "Sequence[BatchJobNote]" = ()

    @property
    def foreign_points(self) -> int:
        """Points that belong to no document: of other programs, or with a damaged payload."""
        return max(0, self.points - self.state.points)

    @property
    def chunks(self) -> int:
        return sum(document.chunks for document in self.state.documents.values())

    @property
    def incomplete(self) -> list[str]:
        return sorted(d.source for d in self.state.documents.values() if not d.complete)

    @property
    def without_text(self) -> list[str]:
        documents = self.state.documents.values()
        return sorted(d.source for d in documents if d.complete and not d.chunks)

    @property
    def locations(self) -> dict[str, str]:
        """Where each source was at the last run, by name."""
        places = sorted(self.places.items())
        return {name: place["location"] for name, place in places}

    @property
    def source_lines(self) -> list[str]:
        """Each source with its location, as people read it."""
        where = self.locations
        names = sorted(self.sources.keys() | where.keys())
        return [f"{name} ({where[name]})" if name in where else name for name in names]

    @property
    def sources(self) -> Mapping[str, int]:
        """Documents by the name of their source."""
        return Counter(document.source_name for document in self.state.documents.values())

    @property
    def formats(self) -> Mapping[str, int]:
        """Documents by the format of their file; "unknown" for one that no loader reads now."""
        from ragctl.loaders import format_of

        known = (format_of(document.file) for document in self.state.documents.values())
        return Counter("unknown" if each is None else each.name for each in known)

    def charts(self, width: int, bar: str, room: int | None) -> list[str]:
        """Return the lines of the charts of documents by source, language and format.

        In at most `room` lines they have fewer bars, or the first ones are left out.
        """
        from ragctl.cli.charts import MAX_BARS, bar_chart

        by = {"source": self.sources, "language": self.languages, "format": self.formats}
        drawn: list[list[str]] = []
        for most in range(MAX_BARS, 1, -1):
            drawn = [
                list(bar_chart(f"documents by {name}", counts, width, bar=bar, most=most))
                for name, counts in by.items()
            ]
            if room is None or sum(map(len, drawn)) <= room:
                break
        while drawn and room is not None and sum(map(len, drawn)) > room:
            del drawn[0]
        return [line for chart in drawn for line in chart]

    def to_json(self) -> dict[str, "Json"]:
        return {
            "collection": self.collection,
            "store": self.store,
            "identity": self.settings.identity.to_json(),
            "origin": self.settings.origin.to_json(),
            "models": cast("Json", self.models),
            "documents": len(self.state.documents),
            "chunks": self.chunks,
            "incomplete": cast("Json", self.incomplete),
            "without_text": cast("Json", self.without_text),
            "sources": cast("Json", dict(sorted(self.sources.items()))),
            "languages": cast("Json", dict(sorted(self.languages.items()))),
            "formats": cast("Json", dict(sorted(self.formats.items()))),
            "locations": cast("Json", self.locations),
            "foreign_points": self.foreign_points,
            "server": None if self.server is None else self.server.to_json(),
            "generations": [_generation_json(each) for each in self.generations],
            "batches": self._batches_json(),
        }

    def _family_rows(self) -> Iterator[tuple[str, str]]:
        """Yield the line about the family of the model, if it has one."""
        identity = self.settings.identity
        if identity.family is not None:
            wrote = ", ".join(self.models)
            yield "family", f"{identity.family}; vectors written by {wrote}"

    def _batches_json(self) -> list["Json"]:
        from ragctl.batch.waiting import job_rows

        return list(job_rows(self.batches))

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the printed form: label and text."""
        settings = self.settings
        languages = ", ".join(
            f"{'unknown' if code == 'und' else code} {n:,}"
            for code, n in sorted(self.languages.items())
        )
        rows = [
            ("collection", f"{self.collection} in {self.store}"),
            *([("also here", f"{listed(self.others)} (choose with -c)")] if self.others else []),
            ("model", f"{settings.identity.model}, {settings.dim} dimensions"),
            *self._family_rows(),
            ("backend", ", ".join(config.label for config in settings.origin.backends)),
            ("chunking", _chunking(settings.origin)),
            ("documents", f"{len(self.state.documents):,}"),
            ("chunks", f"{self.chunks:,}"),
            ("languages", languages or "none yet"),
            ("sources", _listed(self.source_lines) or "none yet"),
        ]
        if kept := [_kept_text(each) for each in self.generations if not each.current]:
            number = settings.generation
            rows.append(("generations", f"{number} is current; kept: {', '.join(kept)}"))
        if settings.origin.unverified:
            note = "not verified: copied from another program with --unverified"
            rows.append(("vectors", note))
        if self.batches:
            from ragctl.batch.waiting import Waiting, problems

            rows.append(("batch jobs", str(Waiting.of(self.batches))))
            rows += [("", problem) for problem in problems(self.batches)]
        if self.incomplete:
            rows.append(("incomplete", _counted(self.incomplete, "run ingest again")))
        if self.without_text:
            rows.append(("without text", _counted(self.without_text, "nothing to search")))
        if self.foreign_points:
            note = "no search returns them; `ragctl verify` names them"
            rows.append(("foreign", f"points of other programs: {self.foreign_points:,} ({note})"))
        if self.server is not None:
            rows += _server_rows(self.server)
        return rows


def _kept_text(generation: "Generation") -> str:
    settings = generation.settings
    what = f"{settings.identity.model}, {settings.dim}d" if settings else "unreadable"
    return f"{generation.number} ({what})"


def _generation_json(generation: "Generation") -> dict[str, "Json"]:
    settings = generation.settings
    return {
        "number": generation.number,
        "current": generation.current,
        "identity": None if settings is None else settings.identity.to_json(),
    }


def _server_rows(server: "ServerState") -> Iterator[tuple[str, str]]:
    """Yield the lines about a server: label and text."""
    if server.shards is None:
        yield "shards", "not known: the key may not read the state of the cluster"
    else:
        shards = {each.number for each in server.shards}
        inactive = [
            f"shard {each.number} on node {each.node} is {each.state}"
            for each in server.shards
            if each.state != "active"
        ]
        text = f"{len(shards)} ({counted(len(server.shards), 'replica')} in all)"
        yield "shards", "; ".join((text, *inactive))
    notes = {
        "yellow": "the server is optimising",
        "grey": "optimisations wait for the next write",
        "red": server.optimizer_error or "optimisations failed",
    }
    note = f" ({notes[server.optimizer]})" if server.optimizer in notes else ""
    deferred = "; its building is deferred until a run ends" if server.graph_deferred else ""
    yield "optimiser", f"{server.optimizer}{note}"
    yield "HNSW graph", f"{counted(server.indexed_vectors, 'vector')}{deferred}"


def _chunking(origin: "Origin") -> str:
    """Return the chunk size and the overlap, which later runs use as well."""
    if origin.chunk_size is None:
        return "not recorded"
    overlap = f", overlap {origin.overlap}" if origin.overlap else ""
    return f"at most {counted(origin.chunk_size, 'token')}{overlap}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (" …" if len(names) > _MAX_LISTED else "")


def _counted(sources: list[str], note: str) -> str:
    return f"{len(sources)} ({note}): {_listed(sources)}"


def status(
    collection: CollectionName = "docs", store: StoreLocation = None, as_json: AsJson = False
) -> int:
    """Show what a collection holds and how it was made."""
    from ragctl.collection.family import writers
    from ragctl.collection.state import read_state

    with opened(store, collection, read_only=True) as (opened_store, found):
        points = found.count()  # before the others: documents may be added meanwhile
        result = _Status(
            collection,
            opened_store.location,
            found.settings,
            read_state(found),
            found.notes().get("places", {}),
            found.facet("mark"),
            points,
            writers(found.settings, found.notes()),
            found.server_state(),
            opened_store.generations(collection),
            other_collections(opened_store.location, collection),
            found.notes().get("batches", ()),
        )
    if as_json:
        console.print_json(result.to_json())
    else:
        _print(result)
    return 0


def _print(result: _Status) -> None:
    """Print the facts, then charts; on a terminal only as many as leave the facts on it."""
    indent, used = _LABEL_WIDTH + 2, 0
    for label, text in result.rows():
        line = f"{label:{_LABEL_WIDTH}}  {one_line(text)}"
        used += console.fitted(line, indent).count("\n") + 1
        console.say(line, indent=indent)
    room = console.size()[1] - used - _OTHER_LINES if console.is_terminal() else None
    charts = result.charts(console.width(), console.bar(), room) if result.state.documents else []
    if charts:
        console.say("")
    for line in charts:
        console.say(line)
