"""``headrace simulate spot``, the rules it compares with, traces, and the callable for other simulators."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.spot_policy import make_policy
from infra.cli import build
from infra.core.errors import InputError
from infra.core.spot.guard import Choice, Job, Standing
from infra.documents.spot_trace import SpotTrace, load_spot_trace
from infra.simulate.spot import Headrace, Prices, on_demand_cost, run_job, simulate_spot, starts_of
from infra.simulate.spot_fit import fit_model
from infra.simulate.spot_rules import greedy, uniform_progress

JOB = Job(total_h=6.0, deadline_h=10.0, overhead_h=0.25, tick_h=0.5)
PATTERN = [index // 9 % 3 != 1 for index in range(240)]


def write(path: Path, data: object, gap_s: object = 1800) -> Path:
    path.write_text(json.dumps({"metadata": {"gap_seconds": gap_s}, "data": data}), encoding="utf-8")
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write(tmp_path / "zone.json", [int(value) for value in PATTERN])


@pytest.mark.parametrize(
    ("standing", "available", "expected"),
    [
        (Standing(0.0, 0.0), False, Choice.PAUSE),  # nothing expected yet
        (Standing(1.0, 0.5), False, Choice.ON_DEMAND),  # 0.6 h expected
        (Standing(1.0, 0.7), False, Choice.PAUSE),
        (Standing(1.0, 0.1), True, Choice.SPOT),
        (Standing(2.0, 1.4, Choice.ON_DEMAND), False, Choice.ON_DEMAND),  # stays to catch up
        (Standing(2.0, 1.4, Choice.ON_DEMAND), True, Choice.ON_DEMAND),  # 1.5 h expected in two overheads
        (Standing(2.0, 1.6, Choice.ON_DEMAND), True, Choice.SPOT),
        (Standing(4.0, 0.5), True, Choice.ON_DEMAND),  # work and two overheads fill the time
        (Standing(4.0, 0.5, Choice.SPOT, "zone"), True, Choice.SPOT),  # stays while it lasts
        (Standing(4.0, 0.2, Choice.SPOT, "zone", 0.1), True, Choice.ON_DEMAND),  # its start is not yet paid
    ],
)
def test_uniform_progress(standing: Standing, available: bool, expected: Choice) -> None:
    assert uniform_progress(JOB, standing, available) is expected


def test_greedy_waits_until_the_safety_net() -> None:
    waits = [greedy(JOB, Standing(tick * 0.5, 0.0), False) for tick in range(8)]
    assert waits == [Choice.PAUSE] * 7 + [Choice.ON_DEMAND]


def test_a_tick_is_billed_whole_and_each_start_pays_its_overhead() -> None:
    plan = [Choice.SPOT, Choice.ON_DEMAND, Choice.PAUSE, Choice.ON_DEMAND, Choice.ON_DEMAND]
    job = Job(total_h=1.2, deadline_h=10.0, overhead_h=0.25, tick_h=0.5)
    outcome = run_job(
        [True] * 5, job, Prices(0.3, 1.0), lambda _job, standing, _now: plan[round(standing.elapsed_h / 0.5)]
    )
    # Work: 0.25, 0.25, none, 0.25, 0.5 hours.
    assert outcome.cost == pytest.approx(0.15 + 1.5)
    assert (outcome.spot_ticks, outcome.on_demand_ticks, outcome.idle_ticks, outcome.switches) == (1, 3, 1, 3)


def test_a_lost_start_is_not_carried_over() -> None:
    job = Job(total_h=1.0, deadline_h=10.0, overhead_h=0.75, tick_h=0.5)
    outcome = run_job([True, False, True, True, True, True], job, Prices(), greedy)
    assert (outcome.spot_ticks, outcome.idle_ticks, outcome.missed) == (5, 1, False)


def test_spot_without_capacity_is_refused() -> None:
    with pytest.raises(InputError, match="SPOT_UNAVAILABLE"):
        run_job([False], JOB, Prices(), lambda *_: Choice.SPOT)


def test_starts_are_spread_and_leave_room_for_the_deadline() -> None:
    trace = SpotTrace("zone", 0.5, tuple(PATTERN))
    assert starts_of(trace, 10.0, count=3) == [0, 110, 220]
    assert starts_of(trace, 10.0, every_h=50.0) == [0, 100, 200]
    with pytest.raises(InputError, match="TRACE_TOO_SHORT"):
        starts_of(trace, 121.0)


def test_policies_rank_as_they_should(trace: Path) -> None:
    loaded = [load_spot_trace(trace)]
    costs = {
        policy: simulate_spot(loaded, 12.0, 17.5, 0.25, Prices(), policy).cost_relative
        for policy in ("optimal", "headrace", "on-demand")
    }
    assert costs["optimal"] <= costs["headrace"] < costs["on-demand"] == 1.0


def test_simulate_spot_prints_json(trace: Path) -> None:
    result = CliRunner().invoke(
        build(),
        ["simulate", "spot", "--trace", str(trace), "--job-h", "12", "--deadline-h", "17.5", "--starts", "3", "--json"],
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert (answer["policy"], answer["jobs"], answer["misses"]) == ("headrace", 3, 0)
    assert answer["cost"] == answer["cost_relative"]
    assert answer["spot_h"] + answer["on_demand_h"] >= 36.0
    assert {"idle_h", "switches", "wall_s", "mean_cost"} <= set(answer)


def test_simulate_spot_prints_a_table(trace: Path) -> None:
    arguments = [
        "simulate",
        "spot",
        "--trace",
        str(trace),
        "--policy",
        "greedy",
        "--job-h",
        "12",
        "--deadline-h",
        "17.5",
    ]
    result = CliRunner().invoke(build(), [*arguments, "--start-every-h", "20"])
    assert result.exit_code == 0, result.output
    assert "greedy: 6 jobs" in result.output


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--policy", "psychic"], "UNKNOWN_POLICY"),
        (["--deadline-h", "11"], "DEADLINE_TOO_SHORT"),
        (["--deadline-h", "12.1"], "DEADLINE_TOO_SHORT"),
        (["--job-h", "nan"], "BAD_NUMBER"),
        (["--overhead-h", "-1"], "BAD_NUMBER"),
        (["--spot-price", "inf"], "BAD_NUMBER"),
        (["--on-demand-price", "0"], "BAD_NUMBER"),
        (["--start-every-h", "0"], "BAD_NUMBER"),
        (["--warm-h", "-1"], "BAD_NUMBER"),
        (["--starts", "0"], "BAD_NUMBER"),
        (["--deadline-h", "1000"], "TRACE_TOO_SHORT"),
    ],
)
def test_bad_options_are_told(trace: Path, options: list[str], code: str) -> None:
    given = ["simulate", "spot", "--trace", str(trace), "--job-h", "12", "--deadline-h", "17.5", *options]
    result = CliRunner().invoke(build(), given)
    assert result.exit_code == 2
    assert code in result.output


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "BAD_JSON"),
        ("[]", "BAD_TYPE"),
        ('{"data": [1]}', "MISSING_KEY"),
        ('{"metadata": 3, "data": [1]}', "BAD_TYPE"),
        ('{"metadata": {}, "data": [1]}', "MISSING_KEY"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "BAD_NUMBER"),
        ('{"metadata": {"gap_seconds": true}, "data": [1]}', "BAD_NUMBER"),
        ('{"metadata": {"gap_seconds": 600}}', "MISSING_KEY"),
        ('{"metadata": {"gap_seconds": 600}, "data": []}', "BAD_TYPE"),
        ('{"metadata": {"gap_seconds": 600}, "data": [1, 2]}', "BAD_VALUE"),
        ('{"metadata": {"gap_seconds": 600}, "data": [1, null]}', "BAD_VALUE"),
        ('{"metadata": {"gap_seconds": 600}, "data": [NaN]}', "BAD_JSON"),
    ],
)
def test_bad_traces_are_told(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=code):
        load_spot_trace(path)


def test_a_missing_trace_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["simulate", "spot", "--trace", str(tmp_path / "none.json"), "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "FILE_MISSING"


def test_the_fit_finds_that_spells_differ() -> None:
    steady = SpotTrace("steady", 1 / 6, tuple(index // 60 % 2 == 0 for index in range(1200)))
    model = fit_model([steady])
    assert len(model.up) == len(model.down) == 7
    assert fit_model([steady]) == model


class History(list):  # type: ignore[type-arg]
    """A sequence with whatever attributes a simulator adds."""


def asked(
    decide, values: list[object], tick: int, current: object = None, progress_h: float = 0.0, **told: object
) -> str:  # type: ignore[no-untyped-def]
    """One call for a 6-hour job with a deadline of 10 hours."""
    history = History(values)
    for name, value in told.items():
        setattr(history, name, value)
    return decide(tick * 0.5, progress_h, 6.0, 10.0, 0.25, bool(values[-1]), current, 0.3, 1.0, history)


@pytest.mark.parametrize("current", [None, "none", "spot", "on_demand"])
@pytest.mark.parametrize("value", [True, 1, False, 0])
@pytest.mark.parametrize("told", [{}, {"tick_h": 0.5}, {"tick_h": 0.5, "pending_h": 0.1, "warm": 2}])
def test_the_callable_takes_what_simulators_give(current: str | None, value: object, told: dict[str, object]) -> None:
    choice = asked(make_policy(), [1, 0, value], 0, current, **told)
    assert choice in {"spot", "on_demand", "none"}
    assert value or choice != "spot"


def test_the_callable_answers_what_the_production_policy_does() -> None:
    """Under our own simulator the callable and the policy run the same job alike, each with the same past."""
    past, ahead = PATTERN[:40], PATTERN[40:60]
    decide, history = make_policy(), History(past)
    history.tick_h = 0.5

    def through_callable(job: Job, standing: Standing, available: bool) -> Choice:
        history.append(available)
        history.pending_h = standing.pending_h
        current = None if standing.running is Choice.PAUSE else standing.running.value
        return Choice(
            decide(
                standing.elapsed_h,
                standing.progress_h,
                job.total_h,
                job.deadline_h,
                job.overhead_h,
                available,
                current,
                0.318,
                1.0,
                history,
            )
        )

    ours = run_job(ahead, JOB, Prices(), Headrace(Prices(), past, 0.5))
    assert run_job(ahead, JOB, Prices(), through_callable) == ours
    assert ours.cost <= on_demand_cost(JOB, Prices())


def test_a_window_of_history_teaches_as_the_whole_does() -> None:
    whole, window = make_policy(), make_policy()
    values: list[bool] = []
    latest: deque[bool] = deque(maxlen=5)
    for tick, value in enumerate(PATTERN[:16]):
        values.append(value)
        latest.append(value)
        assert asked(whole, values, tick, tick_h=0.5) == asked(window, list(latest), tick, tick_h=0.5)


@pytest.mark.parametrize("warm", [PATTERN[:30], tuple(PATTERN[:30])])
def test_a_warm_history_apart_is_the_same_as_in_front(warm: list[bool]) -> None:
    apart, in_front = make_policy(), make_policy()
    for tick in range(1, 12):
        ahead = PATTERN[30 : 30 + tick]
        first = asked(apart, list(ahead), tick - 1, tick_h=0.5, warm=warm)
        assert first == asked(in_front, [*warm, *ahead], tick - 1, tick_h=0.5, warm=30)
