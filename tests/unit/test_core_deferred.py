"""What is worked out later, and what is not worked out again."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from infra.core.canonical import canonical
from infra.core.deferred import Deferred
from infra.core.recent import remembered


def test_a_deferred_sequence_is_made_once_and_only_when_looked_at():
    made = []

    def make() -> tuple[int, ...]:
        made.append(1)
        return (1, 2, 3)

    later = Deferred(make)
    assert made == []
    assert later == (1, 2, 3)
    assert (len(later), later[0], later[1:], list(later)) == (3, 1, (2, 3), [1, 2, 3])
    assert made == [1]


def test_a_deferred_sequence_stands_for_its_tuple():
    later = Deferred(lambda: ("a", "b"))
    assert later == ("a", "b")
    assert later == Deferred(lambda: ("a", "b"))
    assert later != ("a",)
    assert hash(later) == hash(("a", "b"))
    assert canonical(later) == b'["a","b"]'
    assert pickle.loads(pickle.dumps(later)) == ("a", "b")


@dataclass(frozen=True)
class Thing:
    number: int


def test_results_are_found_again_by_the_same_objects_only():
    calls = []

    @remembered(2)
    def twice(thing: Thing) -> int:
        calls.append(thing)
        return 2 * thing.number

    one, other, third = Thing(1), Thing(1), Thing(3)
    assert [twice(one), twice(one), twice(other)] == [2, 2, 2]
    assert len(calls) == 2, "equal is not the same"
    assert twice(third) == 6
    assert twice(one) == 2
    assert len(calls) == 4, "the oldest was forgotten"
