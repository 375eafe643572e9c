"""Code in the folders of the tiny models, structured like that of the Jina repositories.

It is copied into a folder and run from there by sentence-transformers
(trust_remote_code); no test imports it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer


class Transformer(nn.Module):  # type: ignore[misc]
    """A transformer with an adapter per task, like the LoRA adapters of the Jina models."""

    def __init__(
        self,
        model_name_or_path: str,
        max_seq_length: int | None = None,
        model_args: dict[str, Any] | None = None,
        tokenizer_args: dict[str, Any] | None = None,
        config_args: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        super().__init__()
        folder = Path(model_name_or_path)
        self.settings = json.loads((folder / "tiny.json").read_text())
        self.auto_model = AutoModel.from_pretrained(folder, **(model_args or {}))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **(tokenizer_args or {}))
        self.max_seq_length = max_seq_length or self.tokenizer.model_max_length
        self.adapters = nn.Parameter(torch.load(folder / "adapters.pt", weights_only=True))

    @staticmethod
    def load(input_path: str) -> "Transformer":
        return Transformer(input_path)

    def tokenize(self, texts: list[str], **_: object) -> dict[str, Any]:
        return dict(
            self.tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=self.max_seq_length,
                return_tensors="pt",
            )
        )

    def forward(
        self, features: dict[str, Any], task: str | None = None, **_: object
    ) -> dict[str, Any]:
        tokens = features["input_ids"].numel()
        if tokens > self.settings["memory"]:
            raise torch.OutOfMemoryError(f"a batch of {tokens} tokens")
        hidden = self.auto_model(
            input_ids=features["input_ids"], attention_mask=features["attention_mask"]
        ).last_hidden_state
        if task is not None:
            tasks = self.settings["tasks"]
            if task not in tasks:
                raise ValueError(f"Unsupported task {task!r}; supported: {tasks}")
            hidden = hidden @ self.adapters[tasks.index(task)].to(hidden.dtype)
        return features | {"token_embeddings": hidden}


class Processor:
    """Holds the tokenizer of a model that also reads images."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


class MultimodalTransformer(Transformer):
    """A transformer with its tokenizer inside a processor, as in jina v4."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.processor = Processor(self.tokenizer)
        del self.tokenizer

    @staticmethod
    def load(input_path: str) -> "MultimodalTransformer":
        return MultimodalTransformer(input_path)

    def tokenize(self, texts: list[str], **_: object) -> dict[str, Any]:
        return dict(
            self.processor.tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=self.max_seq_length,
                return_tensors="pt",
            )
        )


class DeclaringTransformer(Transformer):
    """A transformer that declares its arguments itself: modules.json lists none."""

    forward_kwargs = frozenset({"task"})

    @staticmethod
    def load(input_path: str) -> "DeclaringTransformer":
        return DeclaringTransformer(input_path)
