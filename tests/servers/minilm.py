"""all-MiniLM-L6-v2 with its real weights, run rightly or in one of the ways that servers get wrong.

The forward pass is that of transformers; what a serving program does around it (special tokens,
padding, pooling, truncation, number types) is written out here, so that each step can be done
wrongly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ragctl.embedding.base import Vectors
from tests import runtime_models

CONTEXT = 256
DIM = 384


@dataclass(frozen=True)
class Way:
    """How the model is run; the default is right.

    `dtype`: of weights and arithmetic. `bits`: weights rounded to so many bits, with one scale for
    each row. `noise`: added to the weights, relative to their deviation. `seed`: another model,
    with random weights. `pooling`: mean, cls or last. `eos`: the closing [SEP] is added. `masked`:
    padding is masked. `limit`: tokens that are read of a text.
    """

    dtype: str = "float32"
    bits: int | None = None
    noise: float = 0.0
    seed: int | None = None
    pooling: str = "mean"
    eos: bool = True
    masked: bool = True
    limit: int = CONTEXT


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(runtime_models.minilm(), local_files_only=True)


def token_ids(text: str, way: Way | None = None) -> list[int]:
    """Return the ids of the tokens that the model reads, [CLS] and [SEP] included."""
    way = way or Way()
    ids = tokenizer()(text, add_special_tokens=True, verbose=False)["input_ids"]
    if len(ids) > way.limit:
        ids = [*ids[: way.limit - 1], ids[-1]]
    return list(ids if way.eos else ids[:-1])


def embed(texts: Sequence[str], way: Way | None = None) -> Vectors:
    """Return the pooled vectors of texts that are computed together, not normalised."""
    import torch

    way = way or Way()
    rows = [token_ids(text, way) for text in texts]
    longest = max(map(len, rows))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    mask = real if way.masked else torch.ones_like(real)
    with torch.inference_mode():
        model = _model(replace(way, pooling="mean", eos=True, masked=True, limit=CONTEXT))
        hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state
        if way.pooling == "cls":
            pooled = hidden[:, 0]
        elif way.pooling == "last":
            pooled = hidden[torch.arange(len(rows)), mask.sum(dim=1) - 1]
        else:
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    found: Vectors = pooled.float().numpy()
    return found


@lru_cache(maxsize=8)
def _model(way: Way) -> Any:
    """Return the network with the weights and the number type of `way`."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.set_num_threads(1)  # threads of several processes would wait for each other
    folder = runtime_models.minilm()
    if way.seed is not None:
        torch.manual_seed(way.seed)
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    else:
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.eval()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim != 2:
                continue
            if way.noise:
                noise = torch.randn(weights.shape, generator=random)
                weights += way.noise * weights.std() * noise
            if way.bits is not None:
                scale = weights.abs().amax(dim=1, keepdim=True) / (2 ** (way.bits - 1) - 1)
                weights.copy_((weights / scale.clamp(min=1e-12)).round() * scale)
    return model.to(getattr(torch, way.dtype))
