"""Complete labels of a search, the best first: what is compiled asks here for what is not."""

from __future__ import annotations

from collections.abc import Iterator

from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.columns import AGAIN, ENOUGH, LABEL, OPTIONS, WAYS, no_path, no_talk
from infra.core.placement.pipelines.growth import ASKS, NO_ROOM, TOO_MANY, taking_up
from infra.core.placement.pipelines.labels import first_label, with_more_room
from infra.core.placement.pipelines.objective import Key
from infra.core.placement.pipelines.outlook import Outlook
from infra.core.placement.pipelines.problem import OUTSIDE, Problem
from infra.core.placement.pipelines.schedule import Schedule

_LABELS_AT_FIRST = 512


class Labelling:
    """One search among some options.

    Args:
        ceiling: What is worse is left out.
        most: Labels that may be taken up.

    Attributes:
        gave_up: Whether these were not enough.
    """

    def __init__(self, problem: Problem, bounds: Bounds, outlook: Outlook, ceiling: Key | None, most: int) -> None:
        self._problem, self._bounds, self._outlook, self._most = problem, bounds, outlook, most
        self._labels = first_label(problem.now_at, _LABELS_AT_FIRST)
        stages, choices = bounds.options.shape[:2]
        self._talk, self._other_path = no_talk(stages, choices, problem.most_starts), no_path(stages)
        self.gave_up = False
        if ceiling is not None:
            self.lower(ceiling)

    def lower(self, ceiling: Key) -> None:
        """Leave out what is worse from now on."""
        self._talk.ceiling[:] = ceiling[:2]

    def complete(self) -> Iterator[int]:
        """Labels that have all stages, by what they come to at least."""
        talk, runs = self._talk, self._bounds.runs
        while True:
            known = runs.runs
            stream = taking_up(
                self._bounds.facts, self._outlook, self._labels, known, talk, self._other_path, self._most
            )
            try:
                for why in stream:
                    if why == TOO_MANY:
                        self.gave_up = True
                        return
                    if why == NO_ROOM:
                        self._labels = with_more_room(self._labels)
                        break
                    if why == ASKS:
                        self._answer(int(self._labels.depth[talk.counts[LABEL]]))
                        if runs.runs is not known:
                            break
                    else:
                        yield int(talk.counts[LABEL])
                else:
                    return
            finally:
                # It goes on with arrays that have grown, or not at all; one that is dropped in its middle would keep its own for ever.
                talk.counts[ENOUGH] = True
                next(stream, None)

    def reached(self) -> float:
        """What every plan comes to at least that was not found when the search gave up, by the first figure of its key."""
        return self.least(int(self._talk.counts[LABEL]))[0]

    def schedule(self, label: int) -> Schedule:
        """The plan of a label that was just told."""
        path, labels = self._talk.path, self._labels
        choices, starts, finishes = (tuple(column.tolist()) for column in (path.choice, path.start_at, path.finish_at))
        return Schedule(choices, starts, finishes, int(labels.cost_micro[label]), int(labels.needed_micro[label]))

    def is_loose(self) -> bool:
        """Whether the label that was just told has starts that are not final: see :class:`Labels`."""
        return bool(self._talk.path.loose.any())

    def put_back(self, label: int, key: Key) -> None:
        """Put a label that was just told among the others, by another key."""
        self._labels.first[label], self._labels.second[label] = key[:2]
        self._talk.counts[AGAIN] = True

    def least(self, label: int) -> tuple[float, float]:
        """The two figures of a label's key."""
        return float(self._labels.first[label]), float(self._labels.second[label])

    def _answer(self, index: int) -> None:
        """Work out what is wanted of the first label's next stage: what it costs and takes, and when it may start."""
        problem, talk, runs = self._problem, self._talk, self._bounds.runs
        stage, count = problem.stages[index], int(talk.counts[OPTIONS])
        parents = [parent for parent, _ in stage.parents]
        places = tuple(talk.path.place[parents].tolist())
        ready_at = max(talk.path.finish_at[parents].tolist(), default=problem.now_at)
        wanted = zip(*[column[:count].tolist() for column in (talk.choice, talk.run, talk.loose)], strict=True)
        ways = 0
        for choice, known, loose in wanted:
            if known != OUTSIDE:
                continue
            run = problem.run(stage, choice, places)
            if not stage.options[choice].price.windows:
                runs.add(index, choice, parents, places, run)
            elif run is not None:
                for start_at in problem.starts(stage, choice, ready_at)[: 1 if loose else None]:
                    if loose:
                        end_at = self._outlook.deadline_at - float(self._outlook.seconds_below[index, choice])
                        money = problem.least_money(stage, choice, run, start_at, end_at)
                    else:
                        money = problem.money(stage, choice, run, start_at)
                    talk.ways[ways], talk.start_at[ways], talk.high_s[ways] = choice, start_at, run.high_s
                    talk.cost_micro[ways], talk.needed_micro[ways] = money
                    ways += 1
        talk.counts[WAYS] = ways
