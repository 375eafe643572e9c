"""The peers' chunkers, in their environment: cuts the documents of a folder, again and again.

Reads lines `NAME FOLDER [FILE]`; answers each with the processor seconds that it took, and writes
the chunks of each document to FILE where one is named.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import tiktoken
from common import CHUNK, texts

Cut = Callable[[str], list[str]]


def semantic() -> Cut:
    from semantic_text_splitter import TextSplitter

    cut: Cut = TextSplitter.from_tiktoken_model("gpt-4o", CHUNK).chunks  # o200k_base
    return cut


def llama_index() -> Cut:
    from llama_index.core.node_parser import SentenceSplitter

    encoding = tiktoken.get_encoding("o200k_base")
    cut: Cut = SentenceSplitter(
        chunk_size=CHUNK,
        chunk_overlap=0,
        tokenizer=lambda text: encoding.encode(text, disallowed_special=()),
    ).split_text
    return cut


def langchain_recursive() -> Cut:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    cut: Cut = RecursiveCharacterTextSplitter.from_tiktoken_encoder(
        "o200k_base", chunk_size=CHUNK, chunk_overlap=0, disallowed_special=()
    ).split_text
    return cut


def langchain_token() -> Cut:
    from langchain_text_splitters import TokenTextSplitter

    cut: Cut = TokenTextSplitter(
        "o200k_base", chunk_size=CHUNK, chunk_overlap=0, disallowed_special=()
    ).split_text
    return cut


def chonkie() -> Cut:
    from chonkie import RecursiveChunker

    chunker = RecursiveChunker(tiktoken.get_encoding("o200k_base"), CHUNK)
    return lambda text: [chunk.text for chunk in chunker.chunk(text)]


CUTS = {
    made.__name__: made
    for made in (semantic, llama_index, langchain_recursive, langchain_token, chonkie)
}
read = cache(lambda folder: [text for _, text in texts(Path(folder))])


def main() -> None:
    for line in sys.stdin:
        name, folder, *into = json.loads(line)
        cut, documents = CUTS[name](), read(folder)  # a new one: some remember what they counted
        began = time.process_time()
        chunks = [cut(text) for text in documents]
        taken = time.process_time() - began
        if into:
            Path(into[0]).write_text(json.dumps(chunks), "utf-8")
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
