"""Options that say where a collection of another program has its vectors and texts."""

from dataclasses import dataclass, fields, replace

from ragctl.errors import OptionError
from ragctl.search.option_spec import option
from ragctl.search.options import SearchOptions
from ragctl.stores.foreign_layout import LANGCHAIN_TEXT, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOptions:
    """How a collection of another program on a Qdrant server is read, such as LangChain's.

    See `stores.foreign_layout.Layout`. Raises OptionError for options without a model.
    """

    model: str | None = option(
        None,
        "Model that made the vectors of such a collection.",
        metavar="MODEL",
    )
    vector: str | None = option(
        None,
        "Its dense vector.",
        metavar="NAME",
        default_text="the unnamed one, or the only one",
    )
    text_field: str | None = option(
        None,
        "Payload field with the text; a dotted path.",
        metavar="PATH",
        default_text="page_content",
    )
    sparse_vector: str | None = option(
        None,
        "Its sparse vector, made by Qdrant/bm25.",
        metavar="NAME",
        default_text="none; dense search only",
    )
    sparse_language: str | None = option(
        None, "Language of its sparse vectors.", metavar="CODE", default_text="en"
    )
    source_field: str | None = option(
        None,
        "Payload field with the name of the document.",
        metavar="PATH",
        default_text="metadata.source with page_content, else the point's id",
    )
    title_field: str | None = option(
        None, "Payload field with the title.", metavar="PATH", default_text="none"
    )
    metadata_field: str | None = option(
        None,
        "Payload field with the metadata; . is the whole payload.",
        metavar="PATH",
        default_text="metadata with page_content, else the whole payload",
    )

    def __post_init__(self) -> None:
        """Raise OptionError for an option without the model that it needs."""
        if self.model is None:
            for each in fields(self):
                if getattr(self, each.name) is not None:
                    raise OptionError(each.name, "name the model that made the vectors, too")
        if self.sparse_language is not None and self.sparse_vector is None:
            raise OptionError("sparse_language", "name the sparse vector too")

    def layout(self) -> Layout | None:
        """Return the layout of the collection; None for a collection of ragctl."""
        if self.model is None:
            return None
        return Layout(
            model=self.model,
            text=self.text_field or LANGCHAIN_TEXT,
            vector=self.vector,
            sparse=self.sparse_vector,
            language=self.sparse_language or "en",
            source=self.source_field,
            title=self.title_field,
            metadata="" if self.metadata_field == "." else self.metadata_field,
        )

    def adapt(self, options: SearchOptions) -> SearchOptions:
        """Return the options of a search, as the collection can answer them.

        Without a sparse vector the default mode becomes dense. Raises OptionError.
        """
        if self.model is None:
            return options
        for name in ("context", "expand"):
            if getattr(options, name):
                raise OptionError(name, "needs a collection of ragctl, which knows neighbours")
        if self.sparse_vector is not None or options.mode == "dense":
            return options
        if options.mode == "sparse":
            raise OptionError("mode", "a sparse search needs the name of a sparse vector")
        return replace(options, mode="dense")
