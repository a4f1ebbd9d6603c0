"""What every adapter of the policy store promises, and what changes of the policy promise to those who decide."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from infra.adapters.current_policy import apply_policy, current_policy, resume_bursting, stop_bursting
from infra.core.errors import UnavailableError
from infra.core.policy import PERMIT_ALL, TenantRules
from infra.core.policy_source import Hours, PolicySource, WindowRule
from infra.ports import ControlStore, PolicyChange
from tests.databases import ALL, NOW

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)

WINDOW = WindowRule("night", (Hours((0, 6), 1320, 360, "Europe/Zürich? no: any text"),))
SOURCE = PolicySource(PERMIT_ALL, "ab" * 32, (WINDOW,), (TenantRules("vision", ("g",), 5, 80),), NOW + 0.25)
OTHER = replace(SOURCE, text=PERMIT_ALL + "// no more\n")


def test_there_is_none_before_the_first(database: ControlStore) -> None:
    assert database.policies.current() is None
    assert database.policies.history() == ()
    with pytest.raises(UnavailableError) as caught:
        stop_bursting(database, "why", NOW)
    assert caught.value.code == "NO_POLICY"


def test_the_newest_is_current_and_all_are_kept(database: ControlStore) -> None:
    first = database.policies.change(SOURCE, PolicyChange.APPLY, "first", NOW)
    second = database.policies.change(OTHER, PolicyChange.APPLY, "zweite: größer", NOW + 1.5)
    assert (first.version, second.version) == (SOURCE.version, OTHER.version)
    assert database.policies.current() == second
    assert database.policies.history() == (second, first)
    assert database.policies.history(1) == (second,)
    assert [record.sequence for record in database.policies.history()] == [2, 1]
    assert first.source == SOURCE


def test_what_is_current_already_is_no_change(database: ControlStore) -> None:
    first = database.policies.change(SOURCE, PolicyChange.APPLY, "first", NOW)
    assert database.policies.change(SOURCE, PolicyChange.APPLY, "again", NOW + 1) == first
    database.policies.change(OTHER, PolicyChange.APPLY, "", NOW + 2)
    back = database.policies.change(SOURCE, PolicyChange.APPLY, "back", NOW + 3)
    assert (back.sequence, back.version) == (3, first.version)


def test_a_stop_is_a_version_of_its_own_and_outlives_a_new_policy(database: ControlStore) -> None:
    apply_policy(database, SOURCE, "first", NOW)
    stopped = stop_bursting(database, "the bill", NOW + 1)
    assert (stopped.change, stopped.source.bursting_stopped, stopped.source.stop_why) == (
        PolicyChange.STOP,
        True,
        "the bill",
    )
    assert stopped.version != SOURCE.version
    applied = apply_policy(database, OTHER, "second", NOW + 2)
    assert (applied.source.text, applied.source.bursting_stopped) == (OTHER.text, True)
    resumed = resume_bursting(database, "paid", NOW + 3)
    assert (resumed.source, resumed.version) == (OTHER, OTHER.version)
    assert current_policy(database) == resumed


def test_a_change_that_fails_leaves_the_old_one(database: ControlStore) -> None:
    apply_policy(database, SOURCE, "first", NOW)
    with pytest.raises(ZeroDivisionError), database.transaction():  # noqa: PT012 - the block is what must fail
        apply_policy(database, OTHER, "second", NOW)
        assert current_policy(database).source == OTHER
        raise ZeroDivisionError
    assert current_policy(database).source == SOURCE


def test_a_change_that_has_returned_is_seen_by_every_later_transaction(database: ControlStore) -> None:
    """Writers record the version that they see; after a change has returned none records the one before."""
    sources = [replace(SOURCE, text=f"{PERMIT_ALL}// {number}\n") for number in range(8)]
    apply_policy(database, sources[0], "", NOW)
    changed_to, stop, wrong = [0], threading.Event(), []

    def record_versions() -> None:
        versions = {source.version: number for number, source in enumerate(sources)}
        while not stop.is_set():
            least = changed_to[0]  # the change to this one has returned
            with database.transaction():
                number = versions[current_policy(database).version]
            if number < least:
                wrong.append((number, least))

    threads = [threading.Thread(target=record_versions) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number, source in enumerate(sources[1:], 1):
            apply_policy(database, source, "", NOW + number)
            changed_to[0] = number
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert [record.sequence for record in database.policies.history()] == list(range(8, 0, -1))
