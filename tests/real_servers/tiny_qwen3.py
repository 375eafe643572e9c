"""Writes a tiny random Qwen3 embedding model, as sentence-transformers keeps one."""

import json
from pathlib import Path

LETTERS_AND_BYTES = 256
END = "<|endoftext|>"


def write_qwen3(folder: Path, dim: int, context: int, seed: int) -> Path:
    """Write the weights, the tokenizer (each byte is a token) and the pooling of a model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    folder.mkdir(parents=True)
    letters = {each: number for number, each in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(letters | {END: LETTERS_AND_BYTES}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, LETTERS_AND_BYTES)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=context
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=LETTERS_AND_BYTES + 1,
        hidden_size=dim,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=context,
        eos_token_id=LETTERS_AND_BYTES,
        bos_token_id=None,
        initializer_range=0.3,
    )
    Qwen3Model(config).to(torch.bfloat16).save_pretrained(folder)
    own = "sentence_transformers.models"
    modules = [("", f"{own}.Transformer"), ("1_Pooling", f"{own}.Pooling")]
    modules.append(("2_Normalize", f"{own}.Normalize"))
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": dim, "pooling_mode_lasttoken": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    return folder
