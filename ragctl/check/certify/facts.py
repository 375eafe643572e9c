"""What a server says about itself, beside its vectors: revision, number type, tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ragctl.catalog import Model
from ragctl.check.certify.texts import WORD, ending_of
from ragctl.embedding.backend_wire import BackendWire
from ragctl.embedding.rest_wire import RestWire
from ragctl.errors import BackendError
from ragctl.records import Json
from ragctl.text import counted

MAX_PLAIN_TOKENS = 5
"""The most tokens of one plain word, with those that a tokenizer adds."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says. None: it does not.

    `weights`: the number type or quantisation of its weights. `pooling`: as models.toml names it.
    `prompt`: what its tokenizer puts in front of a text that was sent; "": nothing. `ending`: a
    text ends with the token it should end with.
    """

    revision: str | None = None
    weights: str | None = None
    pooling: str | None = None
    prompt: str | None = None
    ending: bool | None = None


def server_facts(wire: BackendWire | None, model: Model) -> ServerFacts:
    """Ask a server of one's own about itself; nothing is embedded for it."""
    if not isinstance(wire, RestWire):
        return ServerFacts()
    url = (wire.backend.base_url or "").removesuffix("/v1")
    if wire.backend.wire == "ollama":
        shown = _object(_asked(wire, "/api/show", {"model": wire.served.id}))
        return ServerFacts(weights=_text(_object(shown.get("details")).get("quantization_level")))
    if wire.backend.wire not in ("tei", "openai") or urlsplit(url).scheme != "http":
        return ServerFacts()
    info = _object(_got(wire, f"{url}/info"))
    # Prompts that go by name are not in the text.
    sent = WORD if wire.backend.prompts == "name" else f"{model.document.prompt or ''}{WORD}"
    pieces = _pieces(wire, url, sent)
    return ServerFacts(
        _text(info.get("model_sha")),
        _text(info.get("model_dtype")),
        _pooling(info),
        _added(pieces, sent),
        _ends(pieces, model),
    )


def _pooling(info: dict[str, object]) -> str | None:
    kind = _object(_object(info.get("model_type")).get("embedding"))
    name = _text(kind.get("pooling"))
    return "last" if name == "last_token" else name


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The tokens of a text: their `count`, and those of the text itself joined, if they are shown.

    `last`: the last token.
    """

    count: int
    joined: str | None = None
    last: str = ""


def _pieces(wire: RestWire, url: str, text: str) -> _Pieces | None:
    """Return the tokens of a text, as TEI, vLLM or llama.cpp's server show them."""
    body: dict[str, Json] = {
        "inputs": [text],
        "add_special_tokens": True,
        "model": wire.served.id,
        "prompt": text,
        "return_token_strs": True,
        "content": text,
        "add_special": True,
        "with_pieces": True,
    }
    answer = _asked(wire, f"{url}/tokenize", body)
    if isinstance(answer, list):
        return _of_objects(answer[0]) if len(answer) == 1 else None
    found = _object(answer)
    tokens, strings = found.get("tokens"), found.get("token_strs")
    if isinstance(strings, list) and strings and all(isinstance(each, str) for each in strings):
        return _of_strings(strings)
    if isinstance(tokens, list) and tokens and all(isinstance(token, dict) for token in tokens):
        pieces = [token.get("piece") for token in tokens]
        known = all(isinstance(piece, str) for piece in pieces)
        return _of_strings([str(piece) for piece in pieces]) if known else _Pieces(len(pieces))
    count = found.get("count", len(tokens) if isinstance(tokens, list) else None)
    return _Pieces(count) if type(count) is int else None


def _of_objects(tokens: object) -> _Pieces | None:
    """Return the tokens of Text Embeddings Inference: a text and its place, or a special one."""
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        return None
    joined, end = "", 0
    for token in tokens:
        text, start, stop = (token.get(name) for name in ("text", "start", "stop"))
        if not isinstance(text, str):
            return _Pieces(len(tokens))
        if token.get("special") is not True:
            joined += (" " if type(start) is int and start > end else "") + text
            end = stop if type(stop) is int else end
    return _Pieces(len(tokens), joined, str(tokens[-1]["text"])) if tokens else None


def _of_strings(strings: list[str]) -> _Pieces:
    """Return tokens that are shown as they are in a vocabulary."""
    own = [text for text in strings if not _is_special(text)]
    pieces = any(text.startswith("##") for text in own)
    joined = "".join(text if not pieces or text.startswith("##") else f" {text}" for text in own)
    for marker, plain in (("##", ""), ("▁", " "), ("Ġ", " ")):
        joined = joined.replace(marker, plain)
    return _Pieces(len(strings), joined.strip(), strings[-1])


def _is_special(token: str) -> bool:
    return token.startswith(("[", "<")) and token.endswith(("]", ">"))


def _added(pieces: _Pieces | None, sent: str) -> str | None:
    """Return what a server puts in front of a text; "" for nothing, None if it does not show."""
    if pieces is None:
        return None
    if pieces.joined is None:
        plain = MAX_PLAIN_TOKENS + len(sent) // 2
        return "" if pieces.count <= plain else f"a text of {counted(pieces.count, 'token')}"
    seen, expected = pieces.joined, sent
    while expected:
        seen, expected = seen.rstrip(), expected.rstrip()
        if not seen or seen[-1].casefold() != expected[-1].casefold():
            return None  # its tokens are written in a way that is not known here
        seen, expected = seen[:-1], expected[:-1]
    return seen.strip()


def _ends(pieces: _Pieces | None, model: Model) -> bool | None:
    """Return whether a text ends with the token that this model's texts end with."""
    ending = ending_of(model)
    if pieces is None or not pieces.last or ending is None:
        return None
    last = pieces.last
    if last == ending:
        return True
    # Only the end of the word itself shows for certain that nothing follows it.
    plain = last.strip("▁Ġ# ").casefold()
    return False if plain and WORD.endswith(plain) else None


def _is_marker(text: str) -> bool:
    return text.startswith(("[", "<")) and text.endswith(("]", ">"))


def _got(wire: RestWire, path: str) -> object:
    try:
        return wire.client.get(path)
    except BackendError:
        return None  # it does not say


def _asked(wire: RestWire, path: str, body: Mapping[str, Json]) -> object:
    try:
        return wire.client.ask(path, body)
    except BackendError:
        return None


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
