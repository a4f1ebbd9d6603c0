"""Durations and the learning of rates from past runs."""

from __future__ import annotations

import math
import random
from statistics import stdev

import pytest

from infra.core.inventory import Purchase
from infra.core.placement.estimate import (
    BOOT_SPREAD,
    CHECKPOINT_INTERVAL_S,
    estimate,
    expected_rework,
    rework_deviation,
    speed_up,
)
from infra.core.placement.learning import Observation, learn_rates
from infra.core.placement.predictive import PRIOR_WEIGHT, SPREAD_FLOOR
from infra.core.placement.snapshot import Rate
from infra.core.placement.uncertainty import quantile
from infra.core.workload import Resources, WorkKind
from tests.unit.placement_world import offer, request

TRAINING = WorkKind.TRAINING
PRIOR = Rate(TRAINING, "", 5.0, 0.02, 0.4)


def seen(units: float, run_s: float, *, devices: int = 1, device: str = "gpu-a", number: int = 0) -> Observation:
    return Observation(f"run-{number}", 1, TRAINING, "s", "o", device, devices, units, run_s, 0.0, float(number))


def learnt(observations, priors=(PRIOR,), device="gpu-a", **more):
    return next(rate for rate in learn_rates(observations, priors, **more) if rate.device == device)


class TestDurations:
    def test_speed_up_is_one_for_one_and_bounded_by_the_serial_share(self):
        assert speed_up(1) == pytest.approx(1.0)
        assert speed_up(2) == pytest.approx(1 / (0.05 + 0.475))
        assert speed_up(10**9) == pytest.approx(20.0)
        assert all(speed_up(n + 1) > speed_up(n) for n in range(1, 50))

    def test_fixed_time_does_not_scale(self):
        asked = request(units=100.0, resources=Resources(4))
        rates = {"": Rate(TRAINING, "", 7.0, 1.0, 0.0)}
        found = estimate(asked, offer(relative_speed=2.0), rates, boot_s=3.0, transfer_s=4.0)
        assert found.compute_s == pytest.approx(7.0 + 100.0 / (speed_up(4) * 2.0))
        assert found.total_s == pytest.approx(found.compute_s + 7.0)

    def test_high_estimate(self):
        rates = {"": Rate(TRAINING, "", 0.0, 1.0, 0.25)}
        assert estimate(request(units=100.0), offer(), rates, 0.0, 0.0).at(0.9) == pytest.approx(125.0)
        found = estimate(request(units=100.0), offer(), rates, 20.0, 0.0)
        assert found.at(0.9) == pytest.approx(120.0 + math.hypot(25.0, BOOT_SPREAD * 20.0))
        assert found.at(0.5) == pytest.approx(120.0)

    @pytest.mark.parametrize(("units", "boot_s"), [(1e18, 0.0), (1.0, 1e18)])
    def test_an_absurd_duration_is_no_estimate(self, units, boot_s):
        assert estimate(request(units=units), offer(), {"": Rate(TRAINING, "", 0.0, 1e6, 0.0)}, boot_s, 0.0) is None

    def test_no_rework_without_interruptions(self):
        assert expected_rework(1000.0, 50.0, 0.0, True) == 0.0
        assert expected_rework(0.0, 50.0, 3.0, False) == 0.0

    def test_checkpointed_rework_loses_half_an_interval_and_a_boot(self):
        assert expected_rework(3600.0, 50.0, 2.0, True) == pytest.approx(2.0 * (CHECKPOINT_INTERVAL_S / 2 + 50.0))
        assert expected_rework(100.0, 50.0, 36.0, True) == pytest.approx(1.0 * (50.0 + 50.0))

    def test_restarts_agree_with_a_simulation(self):
        """Expected time of work that starts again at each interruption, against 20,000 simulated runs."""
        work_s, boot_s, per_hour = 900.0, 60.0, 4.0
        generator = random.Random(1)
        total = 0.0
        for _ in range(20_000):
            while (lost := generator.expovariate(per_hour / 3600)) < work_s:
                total += lost + boot_s
            total += work_s
        assert work_s + expected_rework(work_s, boot_s, per_hour, False) == pytest.approx(total / 20_000, rel=0.03)

    @pytest.mark.parametrize(("work_s", "per_hour"), [(900.0, 4.0), (60.0, 2.0), (3600.0, 1.0)])
    def test_restarts_stray_as_a_simulation_does(self, work_s, per_hour):
        generator, boot_s, totals = random.Random(2), 60.0, []
        for _ in range(20_000):
            lost_s = 0.0
            while (lost := generator.expovariate(per_hour / 3600)) < work_s:
                lost_s += lost + boot_s
            totals.append(lost_s)
        assert rework_deviation(work_s, boot_s, per_hour, False) == pytest.approx(stdev(totals), rel=0.06)

    def test_checkpointed_rework_strays_as_a_simulation_does(self):
        generator, work_s, boot_s, per_hour, totals = random.Random(3), 7200.0, 60.0, 2.0, []
        for _ in range(20_000):
            at_s, lost_s = generator.expovariate(per_hour / 3600), 0.0
            while at_s < work_s:
                lost_s += generator.uniform(0.0, CHECKPOINT_INTERVAL_S) + boot_s
                at_s += generator.expovariate(per_hour / 3600)
            totals.append(lost_s)
        assert rework_deviation(work_s, boot_s, per_hour, True) == pytest.approx(stdev(totals), rel=0.03)

    @pytest.mark.parametrize("checkpointed", [True, False])
    def test_rare_interruptions_have_a_deviation_without_a_step(self, checkpointed):
        below, above = (rework_deviation(1000.0, 60.0, rate, checkpointed) for rate in (3.59e-6, 3.61e-6))
        assert below < above == pytest.approx(below, rel=0.01)

    def test_restarts_that_never_end(self):
        assert math.isinf(expected_rework(1e6, 0.0, 1000.0, False))
        spot = offer(interruptions_per_hour=1000.0, purchase=Purchase.SPOT)
        assert estimate(request(checkpointed=False, units=1e6), spot, {"": PRIOR}, 0.0, 0.0) is None


class TestLearning:
    def test_without_observations_the_priors_stand_sorted(self):
        other = Rate(WorkKind.EVALUATION, "gpu-z", 1.0, 1.0, 0.1)
        assert learn_rates([], [PRIOR, other]) == (other, PRIOR)

    def test_one_run_moves_the_prior_a_little(self):
        found = learnt([seen(1000, 5.0 + 40.0)])
        weight = 1 / (1 + PRIOR_WEIGHT)
        blended = weight * 0.04 + (1 - weight) * 0.02
        assert blended < found.unit_s < 0.5 * (0.02 + 0.04)
        assert found.samples == 1
        assert quantile(found.spread, 0.9) >= 1.4

    def test_many_runs_find_the_line(self):
        runs = [seen(units, 2.0 + 0.05 * units, number=n) for n, units in enumerate(range(100, 2100, 10))]
        found = learnt(runs)
        assert found.unit_s == pytest.approx(0.05, rel=0.02)
        assert found.fixed_s == pytest.approx(2.0, abs=0.15)
        assert found.samples == 200

    def test_outliers_do_not_count(self):
        runs = [seen(units, 2.0 + 0.05 * units, number=n) for n, units in enumerate(range(100, 2100, 20))]
        spoilt = [seen(1000, 5000.0, number=5 * n) for n in range(20)]
        assert learnt(runs + spoilt).unit_s == pytest.approx(0.05, rel=0.1)

    def test_equal_sizes_cannot_tell_fixed_from_growing_time(self):
        found = learnt([seen(1000, 25.0, number=n) for n in range(40)])
        assert found.fixed_s == pytest.approx(5.0)
        assert found.fixed_s + 1000 * found.unit_s == pytest.approx(25.0, rel=0.01)

    def test_runs_on_more_devices_are_brought_to_one(self):
        found = learnt([seen(1000, 5.0 + 20.0 / speed_up(4), devices=4, number=n) for n in range(400)])
        assert found.unit_s == pytest.approx(0.02, rel=0.01)

    def test_spread_grows_with_scatter_and_has_a_floor(self):
        generator = random.Random(3)
        calm = [seen(1000, 25.0, number=n) for n in range(200)]
        wild = [seen(1000, 25.0 * generator.uniform(0.6, 1.4), number=n) for n in range(200)]
        assert 1.0 + SPREAD_FLOOR <= quantile(learnt(calm).spread, 0.9) < 1.03
        assert quantile(learnt(wild).spread, 0.9) > 1.25

    def test_the_high_estimate_covers_nine_of_ten_runs(self):
        generator = random.Random(4)
        runs = [seen(1000, 25.0 * generator.gauss(1.0, 0.15), number=n) for n in range(300)]
        found = learnt(runs)
        high_s = (found.fixed_s + 1000 * found.unit_s) * quantile(found.spread, 0.9)
        assert 0.88 <= sum(run.run_s <= high_s for run in runs) / len(runs) <= 0.94

    def test_a_faster_device_starts_from_the_reference_in_its_own_speed(self):
        found = learnt([seen(1000, 10.0)], relative_speeds={"gpu-a": 4.0})
        weight = 1 / (1 + PRIOR_WEIGHT)
        assert found.unit_s == pytest.approx(weight * 0.005 + (1 - weight) * 0.005)

    def test_the_prior_of_the_device_itself_comes_first(self):
        own = Rate(TRAINING, "gpu-a", 0.0, 1.0, 0.4)
        assert learnt([seen(1, 1.0)], (PRIOR, own)).unit_s == pytest.approx(1.0)

    def test_work_of_no_units_teaches_the_fixed_time(self):
        found = learnt([seen(0, 3.0, number=n) for n in range(400)])
        assert found.fixed_s == pytest.approx(3.0, rel=0.02)
        assert found.unit_s == pytest.approx(PRIOR.unit_s, rel=0.02)

    def test_without_a_prior_few_runs_are_doubted(self):
        found = learnt([seen(1000, 20.0)], priors=())
        assert (found.fixed_s, found.unit_s) == (0.0, pytest.approx(0.02))
        assert quantile(found.spread, 0.9) >= 2.0

    def test_a_run_without_time_is_left_out(self):
        assert learn_rates([seen(10, 0.0)], [PRIOR]) == (PRIOR,)

    def test_the_order_of_observations_does_not_matter(self):
        generator = random.Random(5)
        runs = [seen(generator.randrange(100, 900), generator.uniform(5, 50), number=n) for n in range(30)]
        assert learn_rates(runs, [PRIOR]) == learn_rates(generator.sample(runs, len(runs)), [PRIOR])

    def test_a_shorter_run_than_the_prior_fixed_time_is_possible(self):
        found = learnt([seen(1000, 1.0, number=n) for n in range(400)])
        assert found.fixed_s + 1000 * found.unit_s == pytest.approx(1.0, rel=0.3)
