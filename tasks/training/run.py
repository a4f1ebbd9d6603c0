"""Training: a digit classifier, synchronous and data-parallel over the lease's Dask workers, resumable at any step.

The order of the rows comes from the seed and the epoch alone, so a resumed run takes the very steps that an
uninterrupted one would have taken. A unit of work is one row of the data version seen for one epoch (held-out rows
count, so that units can be told from the size of the data alone).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from infra.core.canonical import digest
from tasks.departures import last_is_leaving, reclaimed
from tasks.parameters import Parameters
from tasks.site_job import SiteJob, SiteResult, SiteWork
from tasks.stopping import sigterm_as_event, stopped
from tasks.training import checkpoint
from tasks.training.checkpoint import TrainingState
from tasks.training.digits import HOLDOUT_SHARE, Digits, decode, split
from tasks.training.model import (
    architecture,
    build,
    description_bytes,
    initial_weights,
    probabilities,
    save_weights,
    unflatten,
)
from tasks.training.replicas import Replicas

_PROGRESS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameters of a training, with their defaults."""

    epochs: int
    batch_size: int
    learning_rate: float
    hidden: int
    seed: int
    checkpoint_every_s: float

    @classmethod
    def of(cls, work: SiteWork) -> Settings:
        """Read and check them.

        Raises:
            InputError: ``UNKNOWN_PARAMETER`` or ``BAD_NUMBER``.
        """
        values = Parameters(work, tuple(cls.__slots__))
        return cls(
            epochs=values.whole("epochs", 8, 1, 10_000),
            batch_size=values.whole("batch_size", 64, 1, 1_000_000),
            learning_rate=values.number("learning_rate", 0.002, exclusive=True),
            hidden=values.whole("hidden", 128, 1, 16_384),
            seed=values.whole("seed", 0, 0, 2**31 - 1),
            checkpoint_every_s=values.number("checkpoint_every_s", 10.0),
        )


def run(job: SiteJob) -> SiteResult:
    """Train and write ``model.safetensors`` and ``model.json``.

    Raises:
        InputError: For parameters or data that cannot be used.
        UnavailableError: ``WORKERS_LOST`` or ``STOPPED``; the last checkpoint is kept.
    """
    torch.set_num_threads(1)
    settings = Settings.of(job.work)
    data = next(ref for ref in job.work.inputs if ref.role == "data")
    where = f"{data.name}@{data.version}"
    digits = decode(job.inputs.frame("data"), where)
    train, holdout = split(digits, where)
    description = architecture((settings.hidden,))
    fixed = {name: value for name, value in asdict(settings).items() if name != "checkpoint_every_s"}
    training = {
        "data": {"name": data.name, "version": data.version, "manifest_sha256": data.manifest_sha256},
        "parameters": fixed,
        "holdout_share": HOLDOUT_SHARE,
        "rows_trained": len(train),
    }
    course = _Course(job, settings, description, train, holdout, digest([description, training]))
    with sigterm_as_event() as stop:
        state, started_at_step = course.run(stop.is_set)
    model = build(description)
    unflatten(model, torch.from_numpy(state.weights))
    outputs = (
        job.outputs.write("model.safetensors", save_weights(model)),
        job.outputs.write("model.json", description_bytes(description, training)),
    )
    last = state.curve[-1]
    return SiteResult(
        units_done=course.units * (state.steps - started_at_step) / state.steps,
        metrics={
            "train_loss": last["train_loss"],
            "holdout_accuracy": last["holdout_accuracy"],
            "epochs": float(settings.epochs),
        },
        outputs=outputs,
        detail={
            "loss_curve": state.curve,
            "rows_trained": len(train),
            "rows_held_out": len(holdout),
            "steps": state.steps,
            "resumed_at_step": started_at_step,
            "workers": len(course.replicas.workers),
            "workers_lost": course.replicas.losses,
            "weights": int(state.weights.size),
        },
    )


class _Course:
    """One attempt's way through the epochs."""

    def __init__(
        self,
        job: SiteJob,
        settings: Settings,
        description: dict[str, Any],
        train: Digits,
        holdout: Digits,
        fingerprint: str,
    ) -> None:
        self._job, self._settings, self._train, self._holdout = job, settings, train, holdout
        self._fingerprint = fingerprint
        self._model = build(description)
        self._initial = initial_weights(description, settings.seed)
        self.steps_per_epoch = -(-len(train) // settings.batch_size)
        self.units = float((len(train) + len(holdout)) * settings.epochs)
        self.replicas = Replicas(job, description, train)
        self._ordered_epoch, self._rows = -1, np.zeros(0, np.int64)

    def run(self, stop_asked: Callable[[], bool]) -> tuple[TrainingState, int]:
        """Take all steps that are left; returns the final state and the step that this attempt began at."""
        state = self._resume()
        started_at_step = state.steps
        weights = torch.nn.Parameter(torch.from_numpy(state.weights))
        optimiser = self._optimiser(weights, state)
        total_steps = self.steps_per_epoch * self._settings.epochs
        saved_at = told_at = time.monotonic()
        announced = 0
        while state.steps < total_steps:
            epoch, place = divmod(state.steps, self.steps_per_epoch)
            if place == 0:
                state.loss_sum, state.rows_seen = 0.0, 0
            batch = self._order(epoch)[place * self._settings.batch_size : (place + 1) * self._settings.batch_size]
            gradient, loss = self.replicas.gradient(state.weights, batch)
            weights.grad = torch.from_numpy(gradient)
            optimiser.step()
            state.steps += 1
            state.loss_sum += loss * len(batch)
            state.rows_seen += len(batch)
            if place == self.steps_per_epoch - 1:
                state.curve.append(self._epoch_entry(epoch, state))
            now = time.monotonic()
            departures = self._job.departures()
            if len(departures) > announced and state.steps < total_steps:
                announced, saved_at = len(departures), now
                self._save(state, optimiser, weights)
            if last_is_leaving(self.replicas.workers, departures) and state.steps < total_steps:
                self._save(state, optimiser, weights)
                raise reclaimed(f"run {self._job.work.run_id}, step {state.steps} of {total_steps}")
            if stop_asked() and state.steps < total_steps:
                self._save(state, optimiser, weights)
                raise stopped(f"run {self._job.work.run_id}, step {state.steps} of {total_steps}")
            if now - saved_at >= self._settings.checkpoint_every_s and state.steps < total_steps:
                self._save(state, optimiser, weights)
                saved_at = now
            if now - told_at >= _PROGRESS_EVERY_S or place == self.steps_per_epoch - 1:
                self._tell(state, total_steps)
                told_at = now
        return state, started_at_step

    def _resume(self) -> TrainingState:
        kept = self._job.checkpoints.latest()
        state = checkpoint.from_bytes(kept[1], self._fingerprint, self._initial.numel()) if kept else None
        if state is not None:
            return state
        size = self._initial.numel()
        return TrainingState(self._initial.numpy().copy(), np.zeros(size, np.float32), np.zeros(size, np.float32))

    def _optimiser(self, weights: torch.nn.Parameter, state: TrainingState) -> torch.optim.Adam:
        # The optimiser works on the very arrays of the state, so that a checkpoint needs no copying back.
        optimiser = torch.optim.Adam([weights], lr=self._settings.learning_rate)
        optimiser.state[weights] = {
            "step": torch.tensor(float(state.steps)),
            "exp_avg": torch.from_numpy(state.moment),
            "exp_avg_sq": torch.from_numpy(state.square),
        }
        return optimiser

    def _order(self, epoch: int) -> np.ndarray:
        """Numbers of all training rows in this epoch's order."""
        if self._ordered_epoch != epoch:
            self._rows = np.random.default_rng([self._settings.seed, epoch]).permutation(len(self._train))
            self._ordered_epoch = epoch
        return self._rows

    def _epoch_entry(self, epoch: int, state: TrainingState) -> dict[str, float]:
        unflatten(self._model, torch.from_numpy(state.weights))
        guessed = probabilities(self._model, self._holdout.pixels).argmax(axis=1)
        return {
            "epoch": epoch + 1,
            "train_loss": state.loss_sum / state.rows_seen,
            "holdout_accuracy": float((guessed == self._holdout.labels).mean()),
        }

    def _save(self, state: TrainingState, optimiser: torch.optim.Adam, weights: torch.nn.Parameter) -> None:
        kept = optimiser.state[weights]
        state.moment, state.square = kept["exp_avg"].numpy(), kept["exp_avg_sq"].numpy()
        total_steps = self.steps_per_epoch * self._settings.epochs
        self._job.checkpoints.save(
            state.steps, checkpoint.to_bytes(state, self._fingerprint), state.steps / total_steps
        )

    def _tell(self, state: TrainingState, total_steps: int) -> None:
        mean = state.loss_sum / max(state.rows_seen, 1)
        message = f"epoch {(state.steps - 1) // self.steps_per_epoch + 1} of {self._settings.epochs}, loss {mean:.3f}"
        if state.curve:
            message += f", held-out accuracy {state.curve[-1]['holdout_accuracy']:.3f}"
        self._job.progress(self.units * state.steps / total_steps, self.units, message)
