"""Quantiles of durations, of their sums, and what history makes of them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core.canonical import canonical
from infra.core.errors import InputError
from infra.core.inventory import Purchase
from infra.core.placement.calibration import Verdict, calibrate, judge, outcomes
from infra.core.placement.decide import decide
from infra.core.placement.estimate import Durations, estimate, spread_at
from infra.core.placement.learning import Observation, learn_boots, learn_handovers, learn_rate, learn_rates
from infra.core.placement.predictive import learn_spread, student
from infra.core.placement.snapshot import OfferLoad, Rate
from infra.core.placement.uncertainty import (
    HIGH,
    LEVELS,
    MEDIAN,
    NORMALS,
    probability_below,
    quantile,
    ratios,
    require_spread,
    widened,
)
from infra.core.workload import WorkKind, WorkloadRequest
from infra.documents.codec import read_record
from infra.documents.files import parse_json
from tests.unit.placement_world import candidate, offer, on_docs, request, snapshot

TRAINING = WorkKind.TRAINING
PRIOR = Rate(TRAINING, "", 5.0, 0.02, 0.5)
SEEN = (0.4, 0.5, 0.8, 1.0, 1.2, 1.9, 4.0, 20.0)

spreads = st.one_of(
    st.floats(0.0, 5.0),
    st.lists(st.floats(1.0, 3.0), min_size=7, max_size=7).map(
        lambda steps: tuple(
            math.prod(steps[:i]) / math.prod(steps[:MEDIAN]) if i != MEDIAN else 1.0 for i in range(len(LEVELS))
        )
    ),
).filter(lambda spread: not isinstance(spread, tuple) or list(spread) == sorted(spread))
probabilities = st.floats(0.01, 0.999)


class TestSpread:
    def test_one_number_is_what_nine_of_ten_keep(self):
        assert quantile(0.5, 0.9) == 1.5
        assert quantile(0.5, 0.5) == 1.0
        assert quantile(0.5, 0.1) == pytest.approx(1 / 1.5)

    def test_quantiles_are_taken_as_they_are_and_interpolated_between(self):
        assert [quantile(SEEN, level) for level in LEVELS] == list(SEEN)
        assert 1.9 < quantile(SEEN, 0.93) < 4.0
        assert quantile(SEEN, 0.999) > 20.0

    @pytest.mark.parametrize(
        "spread", [(), SEEN[:-1], (*SEEN[:-1], 3.0), (0.4, 0.5, 0.8, 1.1, 1.2, 1.9, 4.0, 20.0), (*SEEN[:-1], math.inf)]
    )
    def test_what_is_no_spread_is_refused(self, spread):
        with pytest.raises(InputError) as refused:
            require_spread(spread, "rate")
        assert refused.value.code in ("BAD_SPREAD", "BAD_NUMBER")
        with pytest.raises(InputError):
            Rate(TRAINING, "", 1.0, 1.0, spread)

    @given(spreads, probabilities, probabilities)
    def test_quantiles_rise(self, spread, first, second):
        low, high = sorted((first, second))
        assert quantile(spread, low) <= quantile(spread, high) * (1 + 1e-12)

    @given(st.floats(0.001, 5.0), probabilities)
    def test_the_probability_undoes_the_quantile(self, spread, probability):
        assert probability_below(ratios(spread), quantile(spread, probability)) == pytest.approx(probability, abs=1e-9)

    @given(spreads, st.floats(0.0, 1e6), st.floats(0.0, 1e6))
    def test_probabilities_rise(self, spread, first, second):
        low, high = sorted((first, second))
        assert 0.0 <= probability_below(ratios(spread), low) <= probability_below(ratios(spread), high) <= 1.0

    def test_certainty_is_a_step(self):
        assert probability_below(ratios(0.0), 1.0) == 1.0
        assert probability_below(ratios(0.0), 0.999) == 0.0

    @given(st.floats(0.0, 4.0), st.floats(0.0, 4.0), st.sampled_from(LEVELS[MEDIAN:]))
    def test_a_wider_spread_is_never_narrower(self, first, second, level):
        low, high = sorted((first, second))
        assert quantile(low, level) <= quantile(high, level)
        assert quantile(widened(high, 0.5), level) <= quantile(high, level) <= quantile(widened(high, 2.0), level)


def durations(*parts: tuple[float, float], rework: tuple[float, float] = (0.0, 0.0)) -> Durations:
    """Boot, transfer and compute as (median, spread); rework as (mean, deviation)."""
    seconds, spread = zip(*parts, strict=True)
    return Durations(*seconds, *rework, *map(ratios, spread))


class TestSums:
    @pytest.mark.parametrize(
        "parts",
        [
            ((100.0, 0.5), (100.0, 0.5), (100.0, 0.5)),
            ((10.0, 1.0), (30.0, 0.5), (300.0, 0.3)),
            ((60.0, 0.2), (0.0, 0.5), (60.0, 1.0)),
        ],
    )
    def test_the_quantiles_of_a_sum_are_those_of_a_simulation(self, parts):
        """Log-normal parts, 40,000 draws: within 5 % from the median to 99 of 100."""
        generator = random.Random(11)
        deviations = [(median_s, math.log1p(spread) / 1.2815515655446004) for median_s, spread in parts]
        totals = sorted(
            sum(median_s * math.exp(generator.gauss(0.0, sigma)) for median_s, sigma in deviations)
            for _ in range(40_000)
        )
        found = durations(*parts)
        for level in (0.5, 0.75, 0.9, 0.95, 0.99):
            assert found.at(level) == pytest.approx(totals[int(level * len(totals))], rel=0.05)

    def test_a_single_uncertain_part_keeps_its_own_quantiles(self):
        found = durations((0.0, 0.5), (0.0, 0.5), (200.0, 0.5))
        for level in LEVELS:
            assert found.at(level) == pytest.approx(200.0 * quantile(0.5, level))

    @given(
        st.lists(st.tuples(st.floats(0.0, 1e4), st.floats(0.0, 3.0)), min_size=3, max_size=3),
        st.floats(0.0, 1e3),
        probabilities,
        probabilities,
    )
    def test_sums_rise_and_probabilities_undo_them(self, parts, rework_s, first, second):
        found = durations(*parts, rework=(rework_s, 2.0 * rework_s))
        low, high = sorted((first, second))
        assert found.at(low) <= found.at(high) * (1 + 1e-12)
        assert found.at(0.5) == found.total_s
        if found.at(0.25) < found.at(0.75) and first >= 0.05:
            assert found.probability_within(found.at(first) * (1 + 1e-9) + 1e-9) >= first - 1e-6
        assert list(found.quantiles()) == sorted(found.quantiles())

    def test_each_part_at_its_own_quantile(self):
        found = durations((10.0, 1.0), (20.0, 0.5), (30.0, 0.1), rework=(5.0, 3.0))
        handover_s, boot_s, transfer_s, compute_s, rework_s = found.parts_at(0.9)
        assert handover_s == 0.0
        assert (boot_s, transfer_s, compute_s) == pytest.approx((20.0, 30.0, 33.0))
        assert rework_s > 5.0

    def test_interruptions_widen(self):
        calm, spot = offer(), offer(purchase=Purchase.SPOT, interruptions_per_hour=0.5)
        sure = estimate(request(), calm, {"": PRIOR}, 10.0, 0.0)
        unsure = estimate(request(), spot, {"": PRIOR}, 10.0, 0.0)
        assert unsure.at(0.9) - unsure.total_s > sure.at(0.9) - sure.total_s


@pytest.mark.parametrize("probability", [0.5, 0.0, 1.0, -1.0, 2.0, math.nan, math.inf])
def test_a_probability_that_promises_nothing_is_refused(probability):
    with pytest.raises(InputError) as refused:
        request(deadline_probability=probability)
    assert refused.value.code == "BAD_PROBABILITY"


class TestPredictive:
    def test_a_straggler_moves_the_median_little_and_the_tail_much(self):
        generator = random.Random(5)
        calm = [generator.gauss(0.0, 0.1) for _ in range(20)]
        shift, spread = learn_spread(calm, 0.3)
        moved, wide = learn_spread([*calm[:10], math.log(100.0), *calm[11:]], 0.3)
        assert abs(math.exp(moved) / math.exp(shift) - 1.0) < 0.05
        assert wide[-1] > 5.0 * spread[-1]
        assert wide[HIGH] < 2.0 * spread[HIGH]

    @settings(max_examples=60)
    @given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=49), st.floats(1.0, 4.0))
    def test_more_noise_is_never_narrower(self, errors, factor):
        centred = [error - sorted(errors)[len(errors) // 2] for error in errors]
        _, narrow = learn_spread(centred)
        _, wide = learn_spread([factor * error for error in centred])
        for level in range(MEDIAN, len(LEVELS)):
            assert wide[level] >= narrow[level] * (1 - 1e-5)

    @settings(max_examples=60)
    @given(st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=120), st.one_of(st.none(), spreads))
    def test_what_is_learnt_is_always_a_spread(self, errors, prior):
        shift, spread = learn_spread(errors, prior)
        assert math.isfinite(shift)
        require_spread(spread, "learnt")

    def test_fewer_runs_are_doubted_more(self):
        generator = random.Random(6)
        errors = [generator.gauss(0.0, 0.3) for _ in range(400)]

        def mean_width(runs: int) -> float:
            widths = [learn_spread(errors[at : at + runs])[1][HIGH] for at in range(0, 400 - runs, runs)]
            return sum(widths) / len(widths)

        assert mean_width(3) > mean_width(10) > mean_width(40) > math.exp(0.3 * 1.2816) * 0.97

    def test_recent_runs_count_more(self):
        slower = [0.0] * 100 + [0.7] * 60
        assert learn_spread(slower)[0] == pytest.approx(0.7, abs=0.02)

    @pytest.mark.parametrize(
        ("freedom", "level", "expected"), [(5, 0.9, 1.4759), (10, 0.95, 1.8125), (5, 0.95, 2.0150), (30, 0.99, 2.4573)]
    )
    def test_students_quantiles_are_those_of_the_tables(self, freedom, level, expected):
        assert student(NORMALS[LEVELS.index(level)], freedom) == pytest.approx(expected, rel=0.01)


def runs(noise, number: int, seed: int, sizes=(500.0, 20_000.0)) -> list[Observation]:
    generator, at, found = random.Random(seed), 0.0, []
    for index in range(number):
        units = math.exp(generator.uniform(math.log(sizes[0]), math.log(sizes[1])))
        run_s = (5.0 + 0.02 * units) * noise(generator, units)
        at += run_s
        found.append(Observation(str(index), 1, TRAINING, "s", "o", "gpu-a", 1, units, run_s, 1.0, at))
    return found


NOISES = {
    "calm": lambda generator, units: math.exp(generator.gauss(0.0, 0.1)),
    "wild": lambda generator, units: math.exp(generator.gauss(0.0, 0.8)),
    "stragglers": lambda g, units: math.exp(g.gauss(0.0, 0.2)) * (10.0 if g.random() < 0.05 else 1.0),
    "cold caches": lambda g, units: math.exp(g.gauss(0.0, 0.1)) * (3.0 if g.random() < 0.2 else 1.0),
    "large runs are steadier": lambda g, units: math.exp(g.gauss(0.0, 0.6 * (units / 500.0) ** -0.4)),
}


class TestCalibration:
    @pytest.mark.parametrize("name", sorted(NOISES))
    def test_nine_of_ten_runs_keep_the_high_quantile(self, name):
        """3 histories of 250 runs with seeds of their own: 0.90 ± 0.03 of the runs from the 30th on."""
        found = [one for seed in (101, 102, 103) for one in outcomes(runs(NOISES[name], 250, seed), PRIOR)[30:]]
        share = sum(one.probability <= 0.9 for one in found) / len(found)
        assert share == pytest.approx(0.9, abs=0.03)

    def test_no_prediction_knows_what_came_later(self):
        seen = runs(NOISES["calm"], 60, 7)
        changed = [*seen[:40], *(_slower(run) for run in seen[40:])]
        assert outcomes(seen, PRIOR)[:40] == outcomes(changed, PRIOR)[:40]

    def test_a_kind_is_judged_by_itself(self):
        found = calibrate(runs(NOISES["calm"], 60, 8), [PRIOR])
        assert [(one.kind, one.device, one.samples, one.tested) for one in found] == [(TRAINING, "gpu-a", 60, 60)]

    @pytest.mark.parametrize(
        ("share", "tested", "verdict"),
        [
            (0.9, 19, Verdict.TOO_FEW),
            (0.87, 1000, Verdict.CALIBRATED),
            (0.86, 1000, Verdict.TOO_SURE),
            (0.94, 1000, Verdict.TOO_CAUTIOUS),
            (0.84, 50, Verdict.WITHIN_CHANCE),
        ],
    )
    def test_verdicts(self, share, tested, verdict):
        assert judge(share, 0.9, tested) is verdict

    def test_noise_that_depends_on_the_size_is_found(self):
        seen = runs(NOISES["large runs are steadier"], 200, 9)
        rate = next(rate for rate in learn_rates(seen, [PRIOR]) if rate.device == "gpu-a")
        assert rate.noise_doubling == pytest.approx(2.0**-0.4, abs=0.12)
        assert quantile(spread_at(rate, 500.0), 0.9) > 1.7 > 1.4 > quantile(spread_at(rate, 20_000.0), 0.9)

    def test_noise_that_does_not_is_left_alone(self):
        found = [learn_rates(runs(NOISES["calm"], 200, seed), [PRIOR])[-1].noise_doubling for seed in range(20)]
        assert found.count(1.0) >= 18


def _slower(run: Observation) -> Observation:
    return replace(run, run_s=run.run_s * 3.0, at=run.at + run.run_s * 2.0)


class TestBoots:
    def test_boots_are_learnt_per_offer(self):
        seen = [
            Observation(str(n), 1, TRAINING, "cloud", "spot", "gpu", 1, 1.0, 1.0, 60.0 + n % 5, float(n))
            for n in range(60)
        ]
        found = learn_boots(seen, {("cloud", "spot"): 30.0, ("cloud", "od"): 30.0})
        assert set(found) == {("cloud", "spot")}
        boot_s, spread = found["cloud", "spot"]
        assert boot_s == pytest.approx(62.0, rel=0.1)
        assert 1.02 < quantile(spread, 0.9) < 1.3

    def test_one_slow_boot_moves_little(self):
        seen = [Observation("1", 1, TRAINING, "cloud", "spot", "gpu", 1, 1.0, 1.0, 300.0, 1.0)]
        boot_s, spread = learn_boots(seen, {("cloud", "spot"): 30.0})["cloud", "spot"]
        assert 30.0 < boot_s < 60.0
        assert quantile(spread, 0.9) > 1.5

    def test_handovers_are_what_is_left_before_the_boot(self):
        seen = [
            Observation(str(n), 1, TRAINING, "cloud", "spot", "gpu", 1, 1.0, 10.0, 5.0, n * 100.0 + 18.0, n * 100.0)
            for n in range(40)
        ]
        assert seen[0].handover_s == pytest.approx(3.0)
        handover_s, spread = learn_handovers(seen)["cloud", "spot"]
        assert handover_s == pytest.approx(3.0, rel=0.12)
        assert quantile(spread, 0.9) < 1.4
        assert learn_handovers([replace(one, placed_at=None) for one in seen]) == {}

    def test_a_handover_takes_time_and_costs_nothing(self):
        load = OfferLoad("cloud-eu", "od", handover_s=20.0, handover_spread=0.5)
        plain = candidate(decide(on_docs(), snapshot()), "cloud-eu", "od")
        told = candidate(decide(on_docs(), snapshot(loads=(load,))), "cloud-eu", "od")
        assert told.finish_at == plain.finish_at + 20.0
        assert told.time == replace(plain.time, handover_s=20.0)
        assert told.cost == plain.cost
        assert told.finish_high_at > plain.finish_high_at + 20.0

    def test_an_offer_that_is_sold_no_more_is_left_out(self):
        seen = [Observation("1", 1, TRAINING, "cloud", "gone", "gpu", 1, 1.0, 1.0, 300.0, 1.0)]
        assert learn_boots(seen, {("cloud", "spot"): 30.0}) == {}


def test_what_is_learnt_survives_its_record_byte_for_byte():
    rates = learn_rates(runs(NOISES["large runs are steadier"], 80, 3), [PRIOR])
    boots = learn_boots(runs(NOISES["calm"], 9, 3), {("s", "o"): 2.0})
    load = OfferLoad("onprem", "owned", (), *boots["s", "o"])
    world = snapshot(rates=rates, loads=(load,))
    text = canonical(world)
    again = read_record(type(world), parse_json(text, "record"), "record")
    assert again == world
    assert canonical(again) == text
    asked = request(deadline_probability=0.95)
    assert read_record(WorkloadRequest, parse_json(canonical(asked), "record"), "record") == asked


def test_without_history_the_prior_stands():
    assert learn_rates([], [PRIOR]) == (PRIOR,)
    few = learn_rate(TRAINING, "gpu-a", [(1000.0, 25.0)], PRIOR)
    assert quantile(few.spread, 0.9) == pytest.approx(1.5, abs=0.25)
