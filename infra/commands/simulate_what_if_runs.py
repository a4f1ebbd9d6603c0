"""The half of ``headrace simulate what-if`` that decides the recorded runs of this platform again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from infra.commands.shared import print_json, tell, told_end, write
from infra.core.capacity import HOURS_PER_MONTH, NodePrice
from infra.core.errors import InputError
from infra.core.frontier import Point
from infra.core.rehearsal.compare import Difference, advice, differences, point_of, same_choices, summarise
from infra.core.rehearsal.model import Changes, Fate, RecordedRun, owned_devices, require_known
from infra.core.rehearsal.replay import rehearse
from infra.core.units import SECONDS_PER_HOUR, micro_from_usd
from infra.documents import load_policy, load_sites
from infra.documents.policy_windows import policy_at
from infra.render.frontier import advice_json, advice_text, frontier_json, frontier_svg, frontier_table
from infra.render.rehearsal import difference_json, differences_view, summary_json, summary_table
from infra.simulate.recorded import read_runs


def recorded(
    sites: Path | None,
    policy: Path | None,
    budgets: Sequence[str],
    prices: Sequence[str],
    waits: Sequence[float] | None,
    node_price: NodePrice,
    per_node: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Rehearse the recorded runs unchanged and changed, and tell the difference.

    Raises:
        InputError: Something about the changes is wrong, or there is no run.
    """
    began = time.perf_counter()
    changes = _changes(sites, policy, budgets, prices)
    from infra.wiring import control_plane

    record = read_runs(control_plane().database)
    runs = record.runs
    require_known(changes, runs)
    before = {run.run_id: run.fate for run in runs}
    again = rehearse(runs, Changes(), tell)
    prices_of_waiting: list[float | None] = list(waits) if waits else [None]
    rehearsed = [rehearse(runs, _priced(changes, price), tell) for price in prices_of_waiting]
    after = rehearsed[0]
    found = differences(again, after)
    today = _priced(changes, prices_of_waiting[0])
    owned = owned_devices(today.changed_sites(runs[-1].snapshots[-1].sites))
    verdict = advice(
        list(after.values()),
        owned,
        per_node,
        node_price,
        lambda more: list(_with_more(runs, today, more, after).values()),
    )
    owned_usd = owned / per_node * node_price.usd_per_month
    points = [point_of("unchanged", list(again.values()), None, owned_usd)]
    points += [
        point_of("changed", list(fates.values()), price, owned_usd)
        for price, fates in zip(prices_of_waiting, rehearsed, strict=True)
    ]
    told_end()
    if plot is not None:
        write(plot, frontier_svg(points, "Cost and wait of the recorded runs"))
    same, wall_s = same_choices(before, again), round(time.perf_counter() - began, 3)
    if as_json:
        print_json(
            {
                "runs": len(runs),
                "undecided": record.undecided,
                "unreadable": record.unreadable,
                "months": _months(runs),
                "decided_as_recorded": same,
                "recorded": summary_json(summarise(before.values())),
                "unchanged": summary_json(summarise(again.values())),
                "changed": summary_json(summarise(after.values())),
                "differences": [difference_json(each) for each in found],
                "frontier": frontier_json(points),
                "verdict": None if verdict is None else advice_json(verdict),
                "wall_s": wall_s,
            }
        )
        return
    _show(record.undecided, record.unreadable, len(runs), same, before, again, after, points, found)
    if verdict is not None:
        Console().print(Text(advice_text(verdict)))


def _show(
    undecided: int,
    unreadable: int,
    runs: int,
    same: int,
    before: dict[str, Fate],
    again: dict[str, Fate],
    after: dict[str, Fate],
    points: list[Point],
    found: list[Difference],
) -> None:
    console = Console()
    left = [
        f"{number} {what}"
        for number, what in ((undecided, "never placed"), (unreadable, "recorded in an older form"))
        if number
    ]
    console.print(
        Text(
            f"{runs} recorded runs, decided again in order of time{' (left out: ' + ', '.join(left) + ')' if left else ''}. "
            f"Unchanged, {same} of them end as recorded."
        )
    )
    columns = (("recorded", before), ("unchanged", again), ("changed", after))
    console.print(summary_table([(heading, summarise(fates.values())) for heading, fates in columns]))
    if len(points) > 2:
        console.print(frontier_table(points))
    console.print(differences_view(found))


def _with_more(runs: Sequence[RecordedRun], changes: Changes, more: int, known: dict[str, Fate]) -> dict[str, Fate]:
    return known if more == 0 else rehearse(runs, replace(changes, more_devices=more), tell)


def _priced(changes: Changes, usd_per_h: float | None) -> Changes:
    return changes if usd_per_h is None else replace(changes, wait_micro_per_hour=micro_from_usd(usd_per_h))


def _months(runs: Sequence[RecordedRun]) -> float:
    arrivals = [run.fate.arrived_at for run in runs]
    return (max(arrivals) - min(arrivals)) / SECONDS_PER_HOUR / HOURS_PER_MONTH


def _changes(sites: Path | None, policy: Path | None, budgets: Sequence[str], prices: Sequence[str]) -> Changes:
    source = None if policy is None else load_policy(policy)
    by_offer: dict[tuple[str, str], int] = {}
    for name, micro in _amounts(prices, "--price", "SITE/OFFER=USD").items():
        site, slash, offer = name.partition("/")
        if not (site and slash and offer):
            raise InputError("BAD_VALUE", f"{name!r} names no offer", "--price", "write SITE/OFFER=USD")
        by_offer[site, offer] = micro
    return Changes(
        sites=None if sites is None else load_sites(sites),
        policy_at=None if source is None else lambda now_at: policy_at(source, now_at),
        budgets=_amounts(budgets, "--budget", "TENANT=USD"),
        prices=by_offer,
    )


def _amounts(given: Sequence[str], option: str, form: str) -> dict[str, int]:
    """Micro-dollars by what stands before the equals sign."""
    found: dict[str, int] = {}
    for text in given:
        name, equals, amount = text.rpartition("=")
        if not (equals and name.strip()):
            raise InputError("BAD_VALUE", f"{text!r} is not {form}", option, f"write {form}")
        if name.strip() in found:
            raise InputError("DUPLICATE_VALUE", f"{name.strip()!r} stands twice", option, "name each once")
        found[name.strip()] = micro_from_usd(amount.strip(), option)
    return found
