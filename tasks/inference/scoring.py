"""Scores rows with a trained model on the Dask workers of a lease."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from tasks.fanout import spread
from tasks.site_job import SiteInputs, SiteJob


def read_model(inputs: SiteInputs, role: str) -> tuple[bytes, bytes]:
    """``model.json`` and ``model.safetensors`` of the model with this role."""
    return inputs.read(role, "model.json"), inputs.read(role, "model.safetensors")


def score(model_json: bytes, weights: bytes, pixels: np.ndarray) -> np.ndarray:
    """Class probabilities ``[n, 10] float32`` for ``[n, 784] uint8``; runs on a Dask worker.

    Raises:
        InputError: ``MODEL_MALFORMED``.
    """
    import torch

    from tasks.training.model import load_model, probabilities

    torch.set_num_threads(1)
    return probabilities(load_model(model_json, weights), pixels)


def score_partitions(
    job: SiteJob, model: tuple[bytes, bytes], partitions: Iterable[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Score named partitions over the lease's workers and yield (name, probabilities) as they finish.

    Raises:
        UnavailableError: ``WORKERS_LOST``.
    """
    yield from spread(job, score, ((name, (*model, pixels)) for name, pixels in partitions))
