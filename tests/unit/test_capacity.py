"""Capacity: demand and cloud by hand, the cheapest number of nodes against brute force, the verdict and its words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.core.capacity import (
    HOURS_PER_MONTH,
    Cloud,
    Demand,
    Need,
    NodePrice,
    advise,
    cheapest_size,
    cloud_of,
    demand_of,
    need_of,
    purchase,
)
from infra.core.frontier import Point, efficient, lines
from infra.render.frontier import advice_json, advice_text, frontier_svg, frontier_table
from tests.unit.test_render import ElementTree

PRICE = NodePrice(6000.0, 36.0)


def test_demand_of_three_jobs() -> None:
    # [0, 2) 8 GPUs, [2, 10) 12, [10, 20] 4: the second begins as the first still runs, the third comes last.
    demand = demand_of(np.array([0.0, 2.0, 20.0]), np.array([10.0, 30.0, 1.0]), np.array([8, 4, 1]))
    assert demand.peak_gpus == 12
    assert demand.base_gpus == 4
    assert demand.mean_gpus == pytest.approx((2 * 8 + 8 * 12 + 10 * 4) / 20)
    assert demand.median_gpus == 4


def test_devices_that_one_gives_back_as_another_takes_them_count_once() -> None:
    demand = demand_of(np.array([0.0, 5.0, 10.0]), np.array([5.0, 5.0, 1.0]), np.array([8, 8, 8]))
    assert (demand.peak_gpus, demand.base_gpus, demand.mean_gpus) == (8, 8, 8)


def test_cloud_by_day() -> None:
    # 2 GPUs from hour 20 to 28, 1 GPU from hour 50 to 51, in a record of three days and two hours.
    cloud = cloud_of(np.array([20.0, 50.0]), np.array([8.0, 1.0]), np.array([2, 1]), 42.5, 0.0, 74.0)
    assert (cloud.days, cloud.days_used, cloud.gpu_hours) == (3, 3, 17.0)
    assert cloud.base_gpus == pytest.approx(np.quantile([8.0, 8.0, 1.0], 0.1) / 24)
    assert cloud.usd_per_month == pytest.approx(42.5 * HOURS_PER_MONTH / 74)


@given(
    st.integers(1, 60),
    st.integers(0, 60),
    st.floats(0.0, 5000.0),
    st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=130),
)
def test_the_cheapest_size_is_that_of_brute_force_where_each_node_saves_less(
    least: int, width: int, usd_per_month: float, savings: list[float]
) -> None:
    falling = sorted(savings, reverse=True)
    tail = np.concatenate([np.cumsum(falling[::-1])[::-1], np.zeros(200)])

    def cost(nodes: int) -> float:
        return float(tail[nodes])

    totals = {nodes: cost(nodes) + nodes * usd_per_month for nodes in range(least, least + width + 1)}
    found = cheapest_size(cost, least, least + width, usd_per_month)
    assert totals[found] <= min(totals.values()) * (1 + 1e-9) + 1e-6


def test_break_even_is_when_the_savings_have_paid_the_whole_life() -> None:
    costs = {4: 30_000.0, 5: 18_000.0, 6: 17_000.0}
    bought = purchase(5, 4, costs.__getitem__, PRICE)
    assert bought.break_even_months == pytest.approx(36 * 6000 / 12_000)
    assert bought.net_usd_per_month == 6000
    assert purchase(6, 5, costs.__getitem__, PRICE).break_even_months is None
    fewer = purchase(4, 5, costs.__getitem__, PRICE)
    assert (fewer.more, fewer.break_even_months, fewer.saved_usd_per_month) == (-1, None, -12_000)


@pytest.mark.parametrize(
    ("mean", "days", "used", "hours", "need"),
    [
        (10.0, 0, 0, 5.0, Need.UNKNOWN),
        (10.0, 10, 0, 0.0, Need.NEVER),
        (10.0, 10, 8, 5.0, Need.PEAKS),
        (10.0, 10, 9, 5.0, Need.EVERY_DAY),
        (17.0, 10, 8, 5.0, Need.BASE_LOAD),
    ],
)
def test_need(mean: float, days: int, used: int, hours: float, need: Need) -> None:
    demand, cloud = Demand(5.0, mean, mean, 40.0), Cloud(days, used, 0.5, hours, 1000.0)
    assert need_of(demand, cloud, 16) is need
    advice = advise(demand, cloud, 2, 8, PRICE, lambda nodes: 9000.0 * max(0, 5 - nodes))
    told = advice_json(advice)
    assert told["need"] == need.value
    assert told["text"] == advice_text(advice)
    if need is Need.UNKNOWN:
        assert advice.best is None
        return
    # Each node up to the fifth saves 9,000 for 6,000.
    assert (told["buy_nodes"], told["break_even_months"]) == (3, pytest.approx(24.0))
    assert "Buy 3 nodes" in advice_text(advice)
    assert "24.0 months" in advice_text(advice)


def test_nothing_is_bought_that_does_not_pay() -> None:
    demand, cloud = Demand(5.0, 10.0, 10.0, 40.0), Cloud(10, 10, 0.5, 5.0, 1000.0)
    cheap_cloud = advise(demand, cloud, 2, 8, PRICE, lambda nodes: 3000.0 * max(0, 5 - nodes))
    assert cheap_cloud.next_node is not None
    assert cheap_cloud.next_node.break_even_months is None
    assert "Buy nothing" in advice_text(cheap_cloud)
    idle = advise(demand, Cloud(10, 0, 0.0, 0.0, 0.0), 4, 8, PRICE, lambda nodes: 9000.0 * max(0, 2 - nodes))
    assert idle.best is not None
    assert idle.best.more == -2
    assert advice_json(idle)["buy_nodes"] == 0


def _point(label: str, wait: float, usd: float) -> Point:
    return Point(label, 10.0, wait, wait, wait, 1.0, usd, usd, 0.0, 10, 2)


def test_efficient_points_are_those_that_no_other_beats() -> None:
    points = [_point("a", 1.0, 10.0), _point("a", 2.0, 5.0), _point("b", 2.0, 6.0), _point("b", 1.0, 10.0)]
    assert efficient(points) == [True, True, False, True]
    assert [point.mean_wait_h for point in lines(reversed(points))["a"]] == [1.0, 2.0]


@pytest.mark.parametrize("waits", [(0.0, 0.0), (0.001, 5.0), (1.0, 2.0)])
def test_the_picture_has_a_mark_for_each_point(waits: tuple[float, float]) -> None:
    points = [_point("<4 nodes>", waits[0], 10.0), _point("<4 nodes>", waits[1], 0.0), _point("5", waits[1], 3e6)]
    drawn = ElementTree.fromstring(frontier_svg(points))
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3
    for circle in circles:
        assert 90 <= float(circle.get("cx", "nan")) <= 860
        assert 0 <= float(circle.get("cy", "nan")) <= 540
        assert math.isfinite(float(circle.get("cx", "nan")))
    assert frontier_table(points).row_count == 3
