"""Whether estimates keep their word: of runs that were to take no longer than a 0.9 quantile, do 90 in 100?

Every run is predicted from those that had ended before it began, by the code that placements use
(``infra/core/placement/calibration.py``). Made-up histories of several shapes with fixed seeds; real run times of batch
traces (columns job_id,arrival_h,runtime_h,gpus), one history per number of GPUs; or a file of one's own.

    python benchmarks/calibration.py [--traces DIRECTORY] [--history FILE.csv] [--json]

Beside each coverage stands the width (0.9 quantile / median estimate, geometric mean) and that of a plain log-normal:
mean and deviation of the logarithms of the same earlier runs, given the true dependence on the size.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

from infra.core.placement.calibration import TOLD_LEVELS, Outcome, outcomes, summary
from infra.core.placement.learning import WINDOW, Observation, prior_for
from infra.core.placement.snapshot import Rate
from infra.core.workload import WorkKind
from infra.documents.history import load_history
from infra.documents.rates import load_rates

KIND = WorkKind.TRAINING
FIXED_S, UNIT_S = 5.0, 0.02
PRIOR = Rate(KIND, "", FIXED_S, UNIT_S, 0.5)
TRACE_PRIOR = Rate(KIND, "", 0.0, 3600.0, 2.0)
NINE = TOLD_LEVELS.index(0.9)
LEAST = 30
"""Where a history is long, its first predictions (which are the prior's) are left out."""

Noise = Callable[[random.Random, int, float], float]


def _normal(sigma: float) -> Noise:
    return lambda generator, _index, _units: math.exp(generator.gauss(0.0, sigma))


def _times(chance: float, factor: float, sigma: float) -> Noise:
    return lambda generator, _index, _units: (
        math.exp(generator.gauss(0.0, sigma)) * (factor if generator.random() < chance else 1.0)
    )


SHAPES: dict[str, Noise] = {
    "log-normal 0.1": _normal(0.1),
    "log-normal 0.3": _normal(0.3),
    "log-normal 0.8": _normal(0.8),
    "5% stragglers of 10x": _times(0.05, 10.0, 0.2),
    "20% cold caches of 3x": _times(0.2, 3.0, 0.1),
    "50% cold caches of 3x": _times(0.5, 3.0, 0.1),
    "heavy tail (t, 3 degrees)": lambda generator, _index, _units: math.exp(
        0.3 * generator.gauss(0.0, 1.0) / math.sqrt(generator.gammavariate(1.5, 1.0) / 1.5)
    ),
    "drift, 4-fold in 190 runs": lambda generator, index, _units: math.exp(
        generator.gauss(0.0, 0.2) + 0.7 * math.sin(index / 60.0)
    ),
    "jump, 2-fold each 100 runs": lambda generator, index, _units: (
        math.exp(generator.gauss(0.0, 0.2)) * (2.0 if index // 100 % 2 else 1.0)
    ),
    "noise falls with size": lambda generator, _index, units: math.exp(
        generator.gauss(0.0, 0.6 * (units / 500.0) ** -0.4)
    ),
    "noise grows with size": lambda generator, _index, units: math.exp(
        generator.gauss(0.0, 0.05 * (units / 500.0) ** 0.5)
    ),
}


def history(generator: random.Random, noise: Noise, runs: int) -> list[Observation]:
    """Runs one after the other, sizes 500 to 20,000 units, on a device whose speed the prior gets wrong."""
    wrong, ended_at, found = math.exp(generator.gauss(0.0, 0.5)), 0.0, []
    for index in range(runs):
        units = math.exp(generator.uniform(math.log(500.0), math.log(20_000.0)))
        run_s = (FIXED_S + units * UNIT_S) * wrong * noise(generator, index, units)
        ended_at += run_s
        found.append(Observation(f"{index}", 1, KIND, "", "", "gpu", 1, units, run_s, 0.0, ended_at))
    return found


def plain_width(seen: Sequence[Observation], expected: Callable[[Observation], float]) -> Iterator[tuple[float, bool]]:
    """For each run: log of (0.9 quantile / median) of a log-normal fitted to earlier runs, and whether it was kept."""
    ends = [run.at for run in seen]
    errors = [math.log(run.run_s / expected(run)) for run in seen]
    normal = NormalDist().inv_cdf(0.9)
    for run, error in zip(seen, errors, strict=True):
        before = bisect_right(ends, run.at - run.run_s - run.boot_s)
        past = errors[max(0, before - WINDOW) : before]
        if len(past) >= 2:
            mean = sum(past) / len(past)
            deviation = math.sqrt(sum((one - mean) ** 2 for one in past) / (len(past) - 1))
            yield normal * deviation, error <= mean + normal * deviation


def row(name: str, histories: Sequence[Sequence[Observation]], prior: Rate | None, skip: int, sized: bool) -> dict:
    """One line of the table."""
    found: list[Outcome] = []
    plain: list[tuple[float, bool]] = []
    for seen in histories:
        found += outcomes(seen, prior)[skip:]
        plain += list(plain_width(seen, lambda run: FIXED_S + run.units * UNIT_S if sized else 1.0))[max(0, skip - 2) :]
    told = summary(KIND, name, sum(map(len, histories)), found)
    return {
        "history": name,
        "tested": told.tested,
        "median_ratio": round(told.median_ratio, 3),
        "coverage": {f"{level:g}": round(share, 4) for level, share in zip(TOLD_LEVELS, told.coverage, strict=True)},
        "width": round(told.width, 3),
        "plain_coverage_0.9": round(sum(kept for _, kept in plain) / len(plain), 4) if plain else None,
        "plain_width": round(math.exp(sum(width for width, _ in plain) / len(plain)), 3) if plain else None,
        "verdict": told.verdict.value,
    }


def made_up(seed: int) -> Iterator[dict]:
    for name, noise in SHAPES.items():
        generator = random.Random(f"{name} {seed}")
        yield row(name, [history(generator, noise, 250) for _ in range(4)], PRIOR, LEAST, True)
    for name in ("log-normal 0.1", "log-normal 0.3", "log-normal 0.8", "20% cold caches of 3x"):
        generator = random.Random(f"small {name} {seed}")
        small = [history(generator, SHAPES[name], 12) for _ in range(120)]
        yield row(f"first 12 runs, {name}", small, PRIOR, 0, True)


def real(directory: Path) -> Iterator[dict]:
    for path in sorted((directory / "batch" if (directory / "batch").is_dir() else directory).glob("*.csv")):
        groups: dict[int, list[Observation]] = defaultdict(list)
        with path.open(encoding="utf-8") as lines:
            for job in csv.DictReader(lines):
                run_s, arrival_s = float(job["runtime_h"]) * 3600.0, float(job["arrival_h"]) * 3600.0
                if run_s > 0.0:
                    gpus = int(job["gpus"])
                    groups[gpus].append(
                        Observation(job["job_id"], 1, KIND, "", "", "gpu", 1, 1.0, run_s, 0.0, arrival_s + run_s)
                    )
        histories = [sorted(group, key=lambda run: run.at) for _, group in sorted(groups.items()) if len(group) >= 60]
        if histories:
            yield row(f"{path.stem}, ended before", histories, TRACE_PRIOR, LEAST, False)
            one_by_one = [_one_after_the_other(group) for group in histories]
            yield row(f"{path.stem}, arrived before", one_by_one, TRACE_PRIOR, LEAST, False)


def _one_after_the_other(seen: list[Observation]) -> list[Observation]:
    """The same runs in the order of their arrival, each known when the next begins."""
    ended_at, found = 0.0, []
    for run in sorted(seen, key=lambda run: run.at - run.run_s):
        ended_at += run.run_s
        found.append(Observation(run.run_id, 1, KIND, "", "", "gpu", 1, run.units, run.run_s, 0.0, ended_at))
    return found


def of_file(path: Path) -> Iterator[dict]:
    priors = {(prior.kind, prior.device): prior for prior in load_rates()}
    groups: dict[tuple[WorkKind, str], list[Observation]] = defaultdict(list)
    for run in sorted(load_history(path), key=lambda run: run.at):
        groups[run.kind, run.device].append(run)
    for (kind, device), seen in sorted(groups.items()):
        yield row(f"{kind.value} on {device}", [seen], prior_for(priors, kind, device), 0, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--traces", type=Path, help="directory of batch traces, or the one above its folder `batch`")
    parser.add_argument("--history", type=Path, help="past runs in a CSV file, instead of everything else")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = list(of_file(given.history)) if given.history else list(made_up(given.seed))
    if given.traces and not given.history:
        if not (found := list(real(given.traces))):
            parser.error(f"no batch trace in {given.traces}: give a directory with files *.csv")
        rows += found
    if given.json:
        print(json.dumps({"rows": rows}, indent=2))
        return
    print("| history | n | 0.5 | 0.8 | **0.9** | 0.95 | width | plain: 0.9 | width | verdict |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for told in rows:
        shares = [f"{share:.3f}" for share in told["coverage"].values()]
        shares[NINE] = f"**{shares[NINE]}**"
        plain = (
            (f"{told['plain_coverage_0.9']:.3f}", f"{told['plain_width']:.2f}") if told["plain_width"] else ("–", "–")
        )
        cells = (told["history"], str(told["tested"]), *shares, f"{told['width']:.2f}", *plain, told["verdict"])
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
