"""``headrace simulate batch``: traces, the published baselines against a slow oracle, the planner's measures, the command."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from infra.commands import simulate as command
from infra.core.errors import InputError
from infra.simulate.batch import Planner, Setting, baseline, measures, simulate
from infra.simulate.starburst import longest_waits
from infra.simulate.trace import Trace, read_trace, table4_like

HEADER = "job_id,arrival_h,runtime_h,gpus\n"
NODES, PER_NODE = 2, 4


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Up to fourteen jobs that crowd two nodes of four GPUs."""
    count = draw(st.integers(1, 14))
    arrival = np.cumsum([draw(st.sampled_from((0.0, 0.13, 0.29, 0.71))) for _ in range(count)])
    runtime = [draw(st.sampled_from((0.0, 0.11, 0.47, 1.03, 3.7))) for _ in range(count)]
    gpus = [draw(st.sampled_from((1, 1, 2, 3, 4, 5, 8, 9))) for _ in range(count)]
    return Trace(arrival, np.array(runtime), np.array(gpus, np.int64))


def _oracle(trace: Trace, longest: np.ndarray, best_fit: bool, in_order: bool) -> list[tuple[float, bool]]:
    """The published rules, once more and slowly: all nodes are counted afresh from what runs, at every instant."""
    count = trace.gpus.size
    where: dict[int, list[int]] = {}
    left: dict[int, tuple[float, bool]] = {}
    instants = set(trace.arrival_h.tolist()) | {float(a + w) for a, w in zip(trace.arrival_h, longest, strict=True)}
    while instants:
        now = min(instants)
        instants.discard(now)
        for job in range(count):
            if job in left or trace.arrival_h[job] > now:
                continue
            free = [PER_NODE] * NODES
            for other, nodes in where.items():
                if left[other][0] + trace.runtime_h[other] > now:
                    for node in nodes:
                        free[node] -= min(PER_NODE, int(trace.gpus[other])) if len(nodes) == 1 else PER_NODE
            gpus = int(trace.gpus[job])
            fits = [node for node in range(NODES) if free[node] >= min(gpus, PER_NODE)]
            fits.sort(key=lambda node: (free[node] if best_fit and gpus <= PER_NODE else 0, node))
            width = -(-gpus // PER_NODE)
            earlier = in_order and any(other not in left and trace.arrival_h[other] <= now for other in range(job))
            if len(fits) >= width and not earlier:
                where[job], left[job] = fits[:width], (now, False)
                instants.add(now + float(trace.runtime_h[job]))
            elif now >= trace.arrival_h[job] + longest[job]:
                left[job] = (now, True)
    return [left[job] for job in range(count)]


@settings(max_examples=150, deadline=None)
@given(traces(), st.sampled_from(("no-wait", "constant", "starburst")), st.sampled_from(("first-fit", "best-fit")))
def test_baselines_are_those_of_a_slow_oracle(trace: Trace, policy: str, packing: str) -> None:
    trace = replace(trace, runtime_h=np.maximum(trace.runtime_h, 0.07))  # the oracle sees no job that takes no time
    setting = Setting(NODES, PER_NODE, policy, packing=packing, wait_budget=0.6)
    outcome = baseline(trace, setting)
    longest = longest_waits(policy, trace.runtime_h, trace.gpus, 0.6)
    expected = _oracle(trace, longest, packing == "best-fit", policy == "constant")
    assert [(float(at), bool(cloud)) for at, cloud in zip(outcome.start_h, outcome.cloud, strict=True)] == expected


FULL = Trace(
    np.array([0.0, 0.0, 0.0, 0.0, 0.13, 0.84]),
    np.array([0.47, 0.0, 1.03, 0.0, 0.47, 0.0]),
    np.array([4, 1, 4, 1, 4, 1]),
)
"""Keeps both nodes busy to the end, in spans whose sum is rounded up."""


@settings(max_examples=150, deadline=None)
@given(traces(), st.sampled_from((0.3, 3.0, 30.0)), st.sampled_from((0.0, 0.8)), st.sampled_from((np.inf, 1.0)))
@example(FULL, 0.3, 0.0, np.inf)
def test_the_planner_runs_every_job_once_within_the_nodes(
    trace: Trace, price: float, sigma: float, longest_h: float
) -> None:
    setting = Setting(NODES, PER_NODE, runtime_sigma=sigma, seed=5, cloud_boot_h=0.05)
    outcome = Planner(trace, setting).run(price, longest_h)
    assert (outcome.start_h >= trace.arrival_h).all()
    held = np.where(trace.gpus > PER_NODE, -(-trace.gpus // PER_NODE) * PER_NODE, trace.gpus)
    for now in outcome.start_h[~outcome.cloud]:
        runs = ~outcome.cloud & (outcome.start_h <= now) & (outcome.start_h + trace.runtime_h > now)
        assert held[runs].sum() <= NODES * PER_NODE
    assert outcome.cloud[trace.gpus > NODES * PER_NODE].all()
    told = measures(trace, setting, outcome)
    here = float(trace.gpu_hours[~outcome.cloud].sum())
    assert told["cloud_gpu_h"] + here == pytest.approx(float(trace.gpu_hours.sum()))
    assert 0.0 <= told["utilisation"] <= 1.0
    if sigma == 0.0 and longest_h < np.inf:
        assert (outcome.start_h - trace.arrival_h).max() <= longest_h + 0.05 + 1e-9


@settings(max_examples=25, deadline=None)
@given(traces(), st.sampled_from((0.02, 0.2, 1.0)))
def test_an_asked_mean_wait_is_kept(trace: Trace, mean_wait_h: float) -> None:
    outcome = simulate(trace, Setting(NODES, PER_NODE, mean_wait_h=mean_wait_h))
    assert (outcome.start_h - trace.arrival_h).mean() <= mean_wait_h


def test_made_jobs_are_like_those_of_the_paper() -> None:
    trace = table4_like(20_000, 1.0, 3)
    assert trace.gpu_hours.sum() / (trace.arrival_h[-1] * 32) == pytest.approx(1.0, abs=0.05)
    assert trace.runtime_h.mean() == pytest.approx(1.0, abs=0.03)
    assert np.mean(trace.gpus == 1) == pytest.approx(0.7, abs=0.02)
    again = table4_like(20_000, 1.0, 3)
    assert (again.arrival_h == trace.arrival_h).all()
    assert (table4_like(20_000, 1.0, 4).arrival_h != trace.arrival_h).any()


def test_the_order_of_rows_and_packing_change_nothing(tmp_path: Path) -> None:
    rows = [f"{number},{number // 3},{1 + number % 4},{1 + number % 8}\n" for number in range(30)]
    plain, packed = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    plain.write_text(HEADER + "".join(rows), encoding="utf-8")
    packed.write_bytes(gzip.compress((HEADER + "".join(reversed(rows))).encode()))
    one, other = read_trace(plain), read_trace(packed)
    for column in ("arrival_h", "runtime_h", "gpus"):
        assert (getattr(one, column) == getattr(other, column)).all()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "EMPTY_TRACE"),
        (HEADER, "EMPTY_TRACE"),
        ("job_id,arrival_h,gpus\n1,0,1\n", "MISSING_COLUMN"),
        (HEADER + "1,nan,1,1\n", "BAD_TRACE"),
        (HEADER + "1,0,-1,1\n", "BAD_TRACE"),
        (HEADER + "1,0,1,0\n", "BAD_TRACE"),
        (HEADER + "1,0,1,1.5\n", "BAD_TRACE"),
        (HEADER + "1,0,inf,1\n", "BAD_TRACE"),
        (HEADER + "1,0,1\n", "BAD_TRACE"),
        (HEADER + "1,zero,1,1\n", "BAD_TRACE"),
    ],
)
def test_bad_traces_are_refused_with_their_line(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert caught.value.code == code
    assert code != "BAD_TRACE" or "line 2" in caught.value.where


def test_a_file_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    for content in (b"no gzip at all", gzip.compress(HEADER.encode())[:-9], b"\x1f\x8b\x08\x00" + b"x" * 40):
        path.write_bytes(content)
        with pytest.raises(InputError, match="FILE_UNREADABLE"):
            read_trace(path)
    with pytest.raises(InputError, match="FILE_MISSING"):
        read_trace(tmp_path / "none.csv")


def _run(*arguments: str | Path) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    command.register(app)
    return CliRunner().invoke(app, ["simulate", "batch", *(str(argument) for argument in arguments)])


@pytest.mark.parametrize("policy", ["headrace", "no-wait", "constant", "starburst"])
def test_the_command_prints_its_measures(policy: str) -> None:
    result = _run("--policy", policy, "--jobs", "60", "--seed", "4", "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    keys = {"cloud_gpu_h", "cost_usd", "mean_wait_h", "p99_wait_h", "max_wait_h", "mean_jct_h", "utilisation"}
    assert keys | {"jobs_cloud", "wall_s", "jobs", "policy", "wait_price_usd_per_h"} == set(answer)
    assert answer["cost_usd"] == pytest.approx(2.5 * answer["cloud_gpu_h"])
    assert (answer["jobs"], answer["policy"]) == (60, policy)
    assert "cloud_gpu_h" in _run("--policy", policy, "--jobs", "60").stdout


def test_the_command_keeps_a_mean_wait_and_repeats_itself(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    trace = table4_like(80, 1.3, 2)
    rows = zip(trace.arrival_h, trace.runtime_h, trace.gpus, strict=True)
    lines = [f"{number},{a},{r},{g}\n" for number, (a, r, g) in enumerate(rows)]
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    options = ("--trace", path, "--mean-wait-h", "0.05", "--runtime-sigma", "0.7", "--seed", "3", "--json")
    first, second = (json.loads(_run(*options).stdout) for _ in range(2))
    assert first["mean_wait_h"] <= 0.05
    assert {**first, "wall_s": 0} == {**second, "wall_s": 0}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--policy", "magic"), "UNKNOWN_VALUE"),
        (("--nodes", "0"), "BAD_NUMBER"),
        (("--mean-wait-h", "nan"), "BAD_NUMBER"),
        (("--runtime-sigma", "-1"), "BAD_NUMBER"),
        (("--mean-wait-h", "1", "--wait-price", "2"), "CONTRADICTORY_OPTIONS"),
        (("--mean-wait-h", "0", "--cloud-boot-s", "600"), "MEAN_WAIT_UNREACHABLE"),
        (("--trace", "no-such-file.csv"), "FILE_MISSING"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments: tuple[str, ...], code: str) -> None:
    result = _run(*arguments, "--jobs", "40", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == code


@settings(max_examples=150, deadline=None)
@given(traces(), st.sampled_from((0.0, 0.2, 0.6, 5.0)), st.sampled_from((0.0, 0.8)), st.booleans())
def test_the_planners_simplest_manner_is_starburst(trace: Trace, budget: float, sigma: float, first_fit: bool) -> None:
    setting = Setting(NODES, PER_NODE, "starburst", wait_budget=budget, runtime_sigma=sigma, seed=3)
    trace = replace(trace, runtime_h=np.maximum(trace.runtime_h, 0.07))
    expected = baseline(trace, replace(setting, packing="first-fit" if first_fit else "best-fit"))
    outcome = Planner(trace, setting).run_unplanned(budget, first_fit)
    assert outcome.start_h.tolist() == expected.start_h.tolist()
    assert outcome.cloud.tolist() == expected.cloud.tolist()
