"""Plots of a result for the Prefect UI, as PNG. matplotlib is imported here only, when there is something to draw."""

from __future__ import annotations

import io
from typing import Any

WIDTH_IN, HEIGHT_IN, DPI = 6.0, 3.6, 110


def plot(detail: dict[str, Any]) -> bytes | None:
    """The picture that a result's detail calls for, or ``None`` when it has nothing to draw.

    ``loss_curve`` (one entry per epoch) gives lines, ``confusion`` (counts ``[true][predicted]``) a heat map,
    ``predicted_by_label`` (counts by label) bars.
    """
    for name, draw in (("loss_curve", _line), ("confusion", _heat_map), ("predicted_by_label", _bars)):
        if detail.get(name):
            return _png(draw, detail[name])
    return None


def _png(draw: Any, values: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    draw(figure.add_subplot(), values)
    FigureCanvasAgg(figure)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _line(axes: Any, epochs: list[dict[str, float]]) -> None:
    steps = [entry["epoch"] for entry in epochs]
    axes.plot(steps, [entry["train_loss"] for entry in epochs], color="#0072b2")
    axes.set(xlabel="epoch", title="Training", ylim=(0, None))
    axes.set_ylabel("mean training loss", color="#0072b2")
    accuracy = axes.twinx()
    accuracy.plot(steps, [entry["holdout_accuracy"] for entry in epochs], color="#d55e00")
    accuracy.set_ylabel("held-out accuracy", color="#d55e00")


def _heat_map(axes: Any, counts: list[list[int]]) -> None:
    axes.imshow(counts, cmap="Blues")
    darkest = max(map(max, counts))
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                colour = "white" if count > darkest / 2 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    labels = range(len(counts))
    axes.set(xticks=labels, yticks=labels, xlabel="predicted", ylabel="true", title="Confusion on held-out rows")


def _bars(axes: Any, counts: list[int]) -> None:
    labels = range(len(counts))
    axes.bar(labels, counts)
    axes.set(xticks=labels, xlabel="label", ylabel="rows", title="Predictions by label")
