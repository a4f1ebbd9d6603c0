"""Data-parallel gradients over the Dask workers of a lease.

Each worker holds a shard of the training rows and a replica of the model, as a Dask actor: worker ``k`` of ``n`` holds
the rows whose number is ``k`` modulo ``n``. A step sends the weights to the workers, each sums the gradients of those
rows of the batch that lie in its shard, and the sums are added up here and divided by the batch's size. So the result is
that of one worker with the whole batch, up to the rounding of float32, whatever the number of workers. All traffic is
Dask's own, and so inside its TLS.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import nn

from infra.core.errors import HeadraceError
from tasks.fanout import lease_workers
from tasks.site_job import SiteJob
from tasks.training.digits import Digits
from tasks.training.model import as_inputs, build, unflatten

_LOG = logging.getLogger(__name__)
_POLL_S = 5.0


class Replica:
    """Lives on a Dask worker: a shard of the rows and a model whose weights arrive with each call."""

    def __init__(self, description: dict[str, Any], pixels: np.ndarray, labels: np.ndarray) -> None:
        torch.set_num_threads(1)
        self._model = build(description)
        self._inputs = as_inputs(pixels)
        self._labels = torch.from_numpy(labels)

    def gradient(self, weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Sum over these rows of the shard of the gradient ``[p] float32`` and of the loss at ``weights``."""
        torch.set_num_threads(1)
        unflatten(self._model, torch.from_numpy(np.array(weights, dtype=np.float32)))
        picked = torch.from_numpy(np.array(rows, dtype=np.int64))
        loss = nn.functional.cross_entropy(self._model(self._inputs[picked]), self._labels[picked], reduction="sum")
        gradients = torch.autograd.grad(loss, list(self._model.parameters()))
        return nn.utils.parameters_to_vector(gradients).numpy(), float(loss.detach())


class Replicas:
    """The replicas of one run on all workers of its lease; survives the loss of all but one of them.

    Args:
        job: Whose workers to use.
        description: The model's architecture.
        train: All rows to train on, in a fixed order.
    """

    def __init__(self, job: SiteJob, description: dict[str, Any], train: Digits) -> None:
        self._job, self._description, self._train = job, description, train
        self.losses = 0
        self._open()

    def _open(self) -> None:
        labels = self._train.labels
        assert labels is not None
        self.workers = lease_workers(self._job)
        count = len(self.workers)
        futures = [
            self._job.client.submit(
                Replica,
                self._description,
                np.ascontiguousarray(self._train.pixels[shard::count]),
                np.ascontiguousarray(labels[shard::count]),
                actor=True,
                pure=False,
                workers=[address],
                allow_other_workers=False,
            )
            for shard, address in enumerate(self.workers)
        ]
        self._actors = [self._wait(future) for future in futures]

    def _wait(self, future: Any) -> Any:
        """The future's result; raises ConnectionError when a worker of this round is gone meanwhile."""
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except TimeoutError:
                if lease_workers(self._job) != self.workers:
                    raise ConnectionError("a worker of the lease is gone") from None

    def gradient(self, weights: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, float]:
        """Mean gradient ``[p] float32`` and mean loss of the batch (numbers of rows in ``train``).

        Raises:
            UnavailableError: ``WORKERS_LOST`` when no worker of the lease is left.
        """
        while True:
            try:
                return self._gradient(weights, batch)
            except HeadraceError:
                raise
            except (OSError, RuntimeError) as error:
                # An actor on a lost worker raises OSError once and RuntimeError from then on. When every worker is
                # still there the error is the model's own.
                if lease_workers(self._job) == self.workers:
                    raise
                self.losses += 1
                _LOG.warning("a Dask worker was lost (%s); the step is repeated on those that are left", error)
                self._open()

    def _gradient(self, weights: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, float]:
        count = len(self._actors)
        shares = [batch[batch % count == shard] // count for shard in range(count)]
        calls = [
            actor.gradient(weights, share) for actor, share in zip(self._actors, shares, strict=True) if len(share)
        ]
        total, loss = np.zeros_like(weights), 0.0
        for call in calls:
            part, part_loss = self._wait(call)
            total += part
            loss += part_loss
        return total / np.float32(len(batch)), loss / len(batch)
