"""All sentences about decisions, in one place: reasons, changes, outcomes, and how figures are written in them.

Nothing compares these texts; programs read the codes and parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.core.placement.decision import Change, ChangeKind, Decision, Outcome, Reason, ReasonCode, Step
from infra.core.placement.snapshot import Snapshot
from infra.core.units import MICRO_PER_USD, usd
from infra.core.workload import WorkloadRequest

_DAY_S = 86_400.0


def money(micro: float) -> str:
    """Dollars, rounded up: to the cent from $1 on, to a hundredth of a cent below, exact below that."""
    whole = math.ceil(micro)
    for least, step in ((MICRO_PER_USD, 10_000), (10_000, 100)):
        if whole >= least:
            return usd(-(-whole // step) * step)
    return usd(whole)


def clock(at: float, now_at: float | None = None) -> str:
    """Time of day in UTC, rounded up to the second; with the date when it is another day than ``now_at``'s."""
    moment = datetime.fromtimestamp(math.ceil(at), UTC)
    time = moment.strftime("%H:%M" if moment.second == 0 else "%H:%M:%S")
    same_day = now_at is not None and now_at // _DAY_S == math.ceil(at) // _DAY_S
    return f"{time} UTC" if same_day else f"{moment:%Y-%m-%d} {time} UTC"


def span(seconds: float) -> str:
    """A duration in the two largest units that say something: ``8.4 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f} s"
    rest = round(seconds)
    for size, name, part_size, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if rest >= size:
            parts = rest % size // part_size
            return f"{rest // size} {name}" + (f" {parts} {part}" if parts else "")
    return f"{rest} s"


def short_run(run_id: str) -> str:
    """A run's id in a table: its first 8 characters, which every command takes, and the stage of a pipeline."""
    beginning, _, stage = run_id.partition(":")
    return f"{beginning[:8]}:{stage}" if stage else beginning[:8]


def chance(probability: float) -> str:
    """A probability in percent, rounded down: what is told is not less than promised."""
    percent = probability * 100.0
    if percent > 99.9:
        return ">99.9 %"
    # Products such as 0.29 * 100 lie a hair below what they stand for.
    return f"{math.floor(percent * 10 + 1e-9) / 10:g} %" if percent >= 99 else f"{math.floor(percent + 1e-9)} %"


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, tuple | list) else str(values)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


_Params = Mapping[str, Any]
_Sentence = Callable[[_Params, "float | None"], str]


def _residency(params: _Params, _: float | None) -> str:
    whose = f"{params['dataset']} may" if params["dataset"] else "the request may"
    return f"{whose} be processed in {_listed(params['tags'])} only, and this is {params['jurisdiction']}"


def _busy(params: _Params, now_at: float | None) -> str:
    until = f", enough from {clock(params['free_at'], now_at)}" if "free_at" in params else ""
    queued = f", {params['queued']} waiting before it" if "queued" in params else ""
    if "rests_until_at" in params:
        rests = (
            f"machines did not come up there lately: nothing is tried before {clock(params['rests_until_at'], now_at)}"
        )
        return f"{rests}{queued}{until}"
    return f"{params['free']} of {params['needed']} devices free now{queued}{until}"


def _not_cheapest(params: _Params, _: float | None) -> str:
    extra, later_s = params["extra_micro"], params["later_s"]
    if (worth := params.get("wait_micro", 0)) > 0:
        costs = f"costs {money(abs(extra))} {'more' if extra > 0 else 'less'}" if extra else "costs the same"
        return f"{costs}, but its wait is worth {money(worth)} more"
    if extra > 0:
        return f"costs {money(extra)} more"
    return f"costs the same and ends {span(later_s)} later" if later_s > 0 else "equal; the first by name is taken"


_SPOT_CHOICES = {"spot": "spot elsewhere", "on_demand": "on-demand", "owned": "owned devices", "none": "a pause"}


def _spot_policy(params: _Params, _: float | None) -> str:
    chosen = _SPOT_CHOICES.get(params["choice"], params["choice"])
    if params["forced"]:
        return f"the deadline leaves {chosen} only, should spot capacity go"
    told = f"{chosen} is expected to cost {money(params['chosen_micro'])} to the end"
    if "expected_micro" not in params:
        return f"{told}, and this is dearer or too risky for the deadline"
    return f"{told}, this {money(params['expected_micro'])}"


_REASONS: dict[ReasonCode, _Sentence] = {
    ReasonCode.RESIDENCY_EXCLUDED: _residency,
    ReasonCode.TRUST_ZONE_TOO_LOW: lambda p, _: f"trust zone {p['zone']} is below {p['needed']}",
    ReasonCode.POLICY_STALE: lambda p, n: f"policy {p['policy'][:19]} ended {clock(p['valid_until_at'], n)}",
    ReasonCode.POLICY_FORBIDS: lambda p, _: f"forbidden by {_listed(p['rules'])}",
    ReasonCode.SITE_DOWN: lambda p, _: f"site is down{': ' + p['detail'] if p['detail'] else ''}",
    ReasonCode.PURCHASE_NOT_ALLOWED: lambda p, _: f"{p['purchase']} is not among {_listed(p['allowed'])}",
    ReasonCode.DEVICE_KIND_MISMATCH: lambda p, _: f"{p['device']} is not among {_listed(p['wanted'])}",
    ReasonCode.MEMORY_TOO_SMALL: lambda p, _: f"{_number(p['memory_gb'])} GB of {_number(p['needed_gb'])} GB memory",
    ReasonCode.CAPACITY_TOO_SMALL: lambda p, _: f"has {p['capacity']} of {p['needed']} devices at all",
    ReasonCode.CAPACITY_BUSY: _busy,
    ReasonCode.PRICE_MISSING: lambda p, _: f"no price is known for {p['offer']}",
    ReasonCode.PRICE_STALE: lambda p, n: f"the price ended {clock(p['valid_until_at'], n)}",
    ReasonCode.ESTIMATE_UNKNOWN: lambda p, _: (
        f"no usable estimate of {p['kind']} on {p['device']} (none below {span(p['longest_s'])})"
    ),
    ReasonCode.DATASET_UNREACHABLE: lambda p, _: (
        f"{p['dataset']} can be read from none of its copies ({_listed(p['copies']) or 'it has none'})"
    ),
    ReasonCode.DEADLINE_MISSED: lambda p, n: (
        f"in time with {chance(p['probability'])}, {chance(p['required'])} is required: that sure only by "
        f"{clock(p['finish_high_at'], n)}, {span(p['late_s'])} after the deadline"
    ),
    ReasonCode.BUDGET_RUN_EXCEEDED: lambda p, _: (
        f"may cost {money(p['needed_micro'])}, the run's budget is {money(p['budget_micro'])}"
    ),
    ReasonCode.BUDGET_TENANT_EXCEEDED: lambda p, _: (
        f"may cost {money(p['needed_micro'])}, {p['tenant']} has {money(p['available_micro'])} left"
    ),
    ReasonCode.NOT_CHEAPEST: _not_cheapest,
    ReasonCode.SPOT_POLICY: _spot_policy,
}


def reason_text(reason: Reason, now_at: float | None = None) -> str:
    """A reason in words; its code and parameters when it was made by an engine that names them otherwise.

    Args:
        now_at: The snapshot's instant, so that times of the same day need no date.
    """
    params = dict(reason.params)
    try:
        return _REASONS[reason.code](params, now_at)
    except (KeyError, TypeError):
        told = ", ".join(f"{name} {_listed(value)}" for name, value in reason.params)
        return f"{reason.code.value}{f' ({told})' if told else ''}"


_CHANGES: dict[ChangeKind, Callable[[Any, float | None], str]] = {
    ChangeKind.BUDGET: lambda value, _: f"budget ≥ {money(value)}",
    ChangeKind.TENANT_BUDGET: lambda value, _: f"tenant's monthly budget ≥ {money(value)}",
    ChangeKind.DEADLINE: lambda value, now_at: f"deadline ≥ {clock(value, now_at)}",
    ChangeKind.RESIDENCY: lambda value, _: f"residency + {value}",
    ChangeKind.TRUST_ZONE: lambda value, _: f"trust zone {value} allowed",
    ChangeKind.DEVICES: lambda value, _: f"devices ≤ {_number(value)}",
    ChangeKind.DEVICE_KIND: lambda value, _: f"device kinds + {value}",
    ChangeKind.MEMORY: lambda value, _: f"memory ≤ {_number(value)} GB",
    ChangeKind.PURCHASE: lambda value, _: f"purchases + {value}",
    ChangeKind.WAIT: lambda value, _: "waiting allowed",
}


def change_text(change: Change, now_at: float | None = None) -> str:
    """A change in words: ``budget ≥ $1.84``, ``deadline ≥ 14:20 UTC``, ``residency + US``."""
    return _CHANGES[change.kind](change.value, now_at)


def changes_text(changes: tuple[Change, ...], now_at: float | None = None) -> str:
    return " and ".join(change_text(change, now_at) for change in changes)


_BINDING: dict[ReasonCode, str] = {
    ReasonCode.RESIDENCY_EXCLUDED: "residency",
    ReasonCode.TRUST_ZONE_TOO_LOW: "trust zone",
    ReasonCode.POLICY_STALE: "stale policy",
    ReasonCode.POLICY_FORBIDS: "policy",
    ReasonCode.SITE_DOWN: "site down",
    ReasonCode.PURCHASE_NOT_ALLOWED: "way of paying",
    ReasonCode.DEVICE_KIND_MISMATCH: "device kind",
    ReasonCode.MEMORY_TOO_SMALL: "memory",
    ReasonCode.CAPACITY_TOO_SMALL: "number of devices",
    ReasonCode.CAPACITY_BUSY: "busy devices",
    ReasonCode.PRICE_MISSING: "missing price",
    ReasonCode.PRICE_STALE: "stale price",
    ReasonCode.ESTIMATE_UNKNOWN: "no estimate",
    ReasonCode.DATASET_UNREACHABLE: "unreachable dataset",
    ReasonCode.DEADLINE_MISSED: "deadline",
    ReasonCode.BUDGET_RUN_EXCEEDED: "run's budget",
    ReasonCode.BUDGET_TENANT_EXCEEDED: "tenant's budget",
    ReasonCode.NOT_CHEAPEST: "cost",
    ReasonCode.SPOT_POLICY: "spot policy",
}


def code_text(code: ReasonCode) -> str:
    """A constraint's name in two words."""
    return _BINDING[code]


def outcome_text(decision: Decision, now_at: float) -> str:
    """The decision in one sentence."""
    chosen = decision.chosen
    if chosen is None:
        binding = ", ".join(code_text(code) for code in decision.binding)
        return f"Infeasible: {binding or 'there is no offer at all'}."
    devices = f"{chosen.devices} × {chosen.device}"
    place = f"{chosen.site}/{chosen.offer} ({devices}, {chosen.purchase.value})"
    figures = f"{money(chosen.cost.total_micro)} expected, {money(chosen.cap_micro)} at most"
    finish = f", done by {clock(chosen.finish_at, now_at)}" if chosen.finish_at is not None else ""
    if chosen.deadline_probability is not None:
        finish += f", in time with {chance(chosen.deadline_probability)}"
    if decision.outcome is Outcome.WAIT and decision.wait_until_at is not None:
        until = f"{clock(decision.wait_until_at, now_at)} (in {span(decision.wait_until_at - now_at)})"
        return f"Wait until {until} for {place}: {figures}{finish}."
    return f"Run now at {place}: {figures}{finish}."


def rung_name(rung: str) -> str:
    """How a rung is called among others; the top of a ladder has no name of its own."""
    return f"rung {rung}" if rung else "as asked"


def rung_text(request: WorkloadRequest) -> str:
    """What the rung takes instead of what was asked for; empty for a request as asked."""
    rung = request.on
    if rung is None:
        return ""
    facts = []
    if rung.devices is not None:
        facts.append(f"{rung.devices} device(s)")
    if rung.device_kinds is not None:
        facts.append(f"of kind {', '.join(rung.device_kinds)}" if rung.device_kinds else "of any kind")
    if rung.memory_gb is not None:
        facts.append(f"{_number(rung.memory_gb)} GB memory")
    facts += [f"{name} {_number(value) if not isinstance(value, bool) else value}" for name, value in rung.parameters]
    if rung.units is not None:
        facts.append(f"{rung.units:,.0f} units in all")
    if rung.no_deadline:
        facts.append("no deadline")
    if rung.wait is not None:
        facts.append("may wait" if rung.wait else "may not wait")
    return f"Rung {rung.name} of its ladder: {', '.join(facts)}."


def step_text(step: Step, now_at: float) -> str:
    """What was decided about one rung."""
    told = outcome_text(step.decision, now_at)
    return f"{rung_name(step.request.rung)}: {told[0].lower()}{told[1:]}"


def queue_text(decision: Decision, request: WorkloadRequest, snapshot: Snapshot) -> str:
    """Its place in the queue and what its waiting is worth; empty when it neither waits nor has a price of waiting."""
    told, chosen = [], decision.chosen
    if decision.outcome is Outcome.WAIT and chosen is not None and chosen.start_at is not None:
        at_offer = [each for each in snapshot.queue if (each.site, each.offer) == (chosen.site, chosen.offer)]
        before = sum(each.start_at <= chosen.start_at for each in at_offer)
        told.append(f"number {before + 1} of {len(at_offer) + 1} that wait for {chosen.site}/{chosen.offer}")
    if request.wait_micro_per_hour:
        told.append(f"an hour's wait is worth {money(request.wait_micro_per_hour)} to it")
        if chosen is not None and chosen.wait_micro:
            told.append(f"this one {money(chosen.wait_micro)}")
    return f"Queue: {', '.join(told)}." if told else ""


SIMULATED = "SIMULATED: these devices are local processes; their prices are made up."


def is_simulated(decision: Decision, simulated_sites: Mapping[str, bool]) -> bool:
    """Whether the chosen site, or without a choice any candidate's site, is simulated."""
    considered = [decision.chosen] if decision.chosen else decision.candidates
    return any(simulated_sites.get(candidate.site, False) for candidate in considered)
