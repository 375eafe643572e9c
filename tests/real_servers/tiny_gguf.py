"""Writes a tiny random BERT whose tokens are letters: tiny_gguf.py FILE DIM CONTEXT SEED.

It runs in the environment of the server, which has the package gguf.
"""

import sys

import gguf
import numpy as np

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
TOKENS = [*MARKS, *(f"\u2581{letter}" for letter in LETTERS), *LETTERS]
HEADS = 4


def main(file: str, dim: int, context: int, seed: int) -> None:
    """Write the file."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(file, "bert")
    writer.add_context_length(context)
    writer.add_embedding_length(dim)
    writer.add_block_count(1)
    writer.add_feed_forward_length(dim)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(0)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    kinds = gguf.TokenType
    writer.add_token_types([kinds.CONTROL] * len(MARKS) + [kinds.NORMAL] * (2 * len(LETTERS)))
    writer.add_token_type_count(2)
    for number, add in enumerate(
        (
            writer.add_pad_token_id,
            writer.add_unk_token_id,
            writer.add_bos_token_id,
            writer.add_eos_token_id,
            writer.add_mask_token_id,
        )
    ):
        add(number)
    writer.add_sep_token_id(MARKS.index("[SEP]"))

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.3, shape).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(dim, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(dim, np.float32))

    matrix("token_embd", len(TOKENS), dim)
    matrix("token_types", 2, dim)
    matrix("position_embd", context, dim)
    norm("token_embd_norm")
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"):
        matrix(f"blk.0.{part}", dim, dim)
        writer.add_tensor(f"blk.0.{part}.bias", np.zeros(dim, np.float32))
    norm("blk.0.attn_output_norm")
    norm("blk.0.layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
