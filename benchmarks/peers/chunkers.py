"""A process in the peers' environment that runs their chunkers on request.

Reads JSON lines [NAME, FOLDER] or [NAME, FOLDER, FILE]: chunks the documents of FOLDER, answers
with the CPU seconds taken and, if FILE is given, writes the chunks of each document to it.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import tiktoken
from common import CHUNK_TOKENS, texts

Cut = Callable[[str], list[str]]


def semantic() -> Cut:
    from semantic_text_splitter import TextSplitter

    cut: Cut = TextSplitter.from_tiktoken_model("gpt-4o", CHUNK_TOKENS).chunks  # o200k_base
    return cut


def llama_index() -> Cut:
    from llama_index.core.node_parser import SentenceSplitter

    encoding = tiktoken.get_encoding("o200k_base")
    cut: Cut = SentenceSplitter(
        chunk_size=CHUNK_TOKENS,
        chunk_overlap=0,
        tokenizer=lambda text: encoding.encode(text, disallowed_special=()),
    ).split_text
    return cut


def langchain_recursive() -> Cut:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    cut: Cut = RecursiveCharacterTextSplitter.from_tiktoken_encoder(
        "o200k_base", chunk_size=CHUNK_TOKENS, chunk_overlap=0, disallowed_special=()
    ).split_text
    return cut


def langchain_token() -> Cut:
    from langchain_text_splitters import TokenTextSplitter

    cut: Cut = TokenTextSplitter(
        "o200k_base", chunk_size=CHUNK_TOKENS, chunk_overlap=0, disallowed_special=()
    ).split_text
    return cut


def chonkie() -> Cut:
    from chonkie import RecursiveChunker

    chunker = RecursiveChunker(tiktoken.get_encoding("o200k_base"), CHUNK_TOKENS)
    return lambda text: [chunk.text for chunk in chunker.chunk(text)]


CUTS = {
    chunker.__name__: chunker
    for chunker in (semantic, llama_index, langchain_recursive, langchain_token, chonkie)
}
read_texts = cache(lambda folder: [text for _, text in texts(Path(folder))])


def main() -> None:
    for line in sys.stdin:
        name, folder, *files = json.loads(line)
        cut, documents = CUTS[name](), read_texts(folder)  # a new chunker: some cache counts
        began = time.process_time()
        chunks = [cut(text) for text in documents]
        seconds = time.process_time() - began
        if files:
            Path(files[0]).write_text(json.dumps(chunks), "utf-8")
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
