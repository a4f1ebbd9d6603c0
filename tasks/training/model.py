"""The classifier: how it is described, built, saved and loaded. Weights are safetensors, never pickles."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from infra.core.canonical import canonical
from infra.core.errors import InputError
from tasks.training.digits import CLASSES, PIXELS

MODEL_FORMAT = 1
_MEAN, _DEVIATION = np.float32(0.1307), np.float32(0.3081)
"""Of all pixels of MNIST's 60,000 training images, scaled to 0…1."""
_MAX_WIDTH = 16_384
_MAX_LAYERS = 8


def architecture(hidden: tuple[int, ...]) -> dict[str, Any]:
    """Describe a perceptron with these hidden layers, as it stands in ``model.json``."""
    return {"family": "mlp", "inputs": PIXELS, "hidden": list(hidden), "classes": CLASSES}


def build(description: dict[str, Any]) -> nn.Sequential:
    """Build the described perceptron with torch's own initial weights.

    Raises:
        InputError: ``MODEL_MALFORMED`` for a family or sizes that are not known.
    """
    hidden = description.get("hidden")
    known = description.get("family") == "mlp" and (description.get("inputs"), description.get("classes")) == (
        PIXELS,
        CLASSES,
    )
    if not known or not isinstance(hidden, list) or len(hidden) > _MAX_LAYERS:
        raise InputError("MODEL_MALFORMED", f"unknown architecture {description}", "model.json", "train the model anew")
    if any(isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= _MAX_WIDTH for width in hidden):
        raise InputError("MODEL_MALFORMED", f"layers {hidden}", "model.json", f"use widths from 1 to {_MAX_WIDTH}")
    widths = [PIXELS, *hidden, CLASSES]
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        layers += [nn.ReLU()] if index else []
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


def initial_weights(description: dict[str, Any], seed: int) -> torch.Tensor:
    """All weights in one ``[p] float32`` vector, drawn from ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return flat(build(description))


def flat(model: nn.Module) -> torch.Tensor:
    """The model's parameters as one ``[p] float32`` vector, a copy."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def unflatten(model: nn.Module, weights: torch.Tensor) -> None:
    """Copy a ``[p] float32`` vector into the model's parameters."""
    nn.utils.vector_to_parameters(weights, model.parameters())


def as_inputs(pixels: np.ndarray) -> torch.Tensor:
    """``[n, 784] uint8`` to ``[n, 784] float32`` of about zero mean and unit variance over MNIST."""
    return torch.from_numpy((pixels.astype(np.float32) / np.float32(255.0) - _MEAN) / _DEVIATION)


def probabilities(model: nn.Module, pixels: np.ndarray, block_rows: int = 4096) -> np.ndarray:
    """Class probabilities ``[n, 10] float32`` for ``[n, 784] uint8``."""
    with torch.inference_mode():
        blocks = [
            torch.softmax(model(as_inputs(pixels[start : start + block_rows])), dim=1).numpy()
            for start in range(0, len(pixels), block_rows)
        ]
    return np.concatenate(blocks) if blocks else np.zeros((0, CLASSES), np.float32)


def save_weights(model: nn.Module) -> bytes:
    """The weights as safetensors."""
    return save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})


def description_bytes(description: dict[str, Any], training: dict[str, Any]) -> bytes:
    """``model.json``: the architecture, and how and on what it was trained."""
    return canonical({"format": MODEL_FORMAT, "architecture": description, "training": training})


def load_model(model_json: bytes, weights: bytes) -> nn.Sequential:
    """Rebuild a model from ``model.json`` and ``model.safetensors``.

    Raises:
        InputError: ``MODEL_MALFORMED`` when either cannot be read, or they do not belong together.
    """
    try:
        document = json.loads(model_json)
        description = document["architecture"]
        known = document["format"] == MODEL_FORMAT and isinstance(description, dict)
    except (ValueError, KeyError, TypeError):
        known, description = False, {}
    if not known:
        raise InputError("MODEL_MALFORMED", "not a model description", "model.json", "train the model anew")
    model = build(description)
    try:
        model.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(
            "MODEL_MALFORMED", "the weights do not fit the architecture", "model.safetensors", "train the model anew"
        ) from error
    return model.eval()
