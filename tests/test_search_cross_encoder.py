"""A cross-encoder in this process, on a tiny model with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from ragctl.errors import BackendError
from ragctl.rerank.reranker import connect_reranker
from tests import runtime_models

pytestmark = pytest.mark.slow


def encoder(folder: Path, labels: int = 1) -> Path:
    runtime_models.need("sentence_transformers")
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = runtime_models._tokenizer(folder, 64)
    config = BertConfig(
        vocab_size=tokens,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


PASSAGES = ["a pump", "the valve was open " * 20, "", "fan"]


def test_scores_equal_those_of_the_library(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "one")
    from sentence_transformers import CrossEncoder

    library_model = CrossEncoder(str(folder), local_files_only=True)
    expected = library_model.predict(
        [("open", passage) for passage in PASSAGES], show_progress_bar=False
    )
    with connect_reranker(f"cross-encoder:{folder}", environ={}) as reranker:
        scores = reranker.scores("open", PASSAGES)
        assert scores == pytest.approx(np.asarray(expected).tolist(), abs=1e-5)
        assert len(set(scores)) > 1


def test_model_with_several_labels_is_refused(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "three", labels=3)
    with (
        connect_reranker(f"cross-encoder:{folder}", environ={}) as reranker,
        pytest.raises(BackendError, match="not one score"),
    ):
        reranker.scores("open", PASSAGES)


def test_invalid_weights_raise(tmp_path: Path) -> None:
    runtime_models.need("sentence_transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with (
        connect_reranker(f"cross-encoder:{tmp_path}", environ={}) as reranker,
        pytest.raises(BackendError, match="cannot be loaded"),
    ):
        reranker.scores("open", PASSAGES)
