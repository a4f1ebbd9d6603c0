"""Invariant I2 as a state machine: a ledger does what a small model of accounts does, whatever is called in what order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infra.adapters.ledger_check import problems_of
from infra.adapters.memory import MemoryDatabase
from infra.adapters.sql import migrate, open_database
from infra.core.errors import HeadraceError
from infra.core.placement.decision import CostParts
from infra.ports import ControlStore
from tests.databases import NOW, PERIOD

TENANTS = ("search", "vision")
amounts = st.integers(0, 40)
runs = st.sampled_from(("run-a", "run-b", "run-c"))
attempts = st.integers(1, 2)


class Model:
    """Accounts as sums over open and closed attempts, with nothing stored twice."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}
        self.owner: dict[tuple[str, int], str] = {}
        self.first: dict[tuple[str, int], int] = {}
        self.extensions: dict[tuple[str, int, str], int] = {}
        self.closed: dict[tuple[str, int], tuple[str, CostParts]] = {}

    def reserved(self, key: tuple[str, int]) -> int:
        if key not in self.first or key in self.closed:
            return 0
        return self.first[key] + sum(
            amount for (run, attempt, _), amount in self.extensions.items() if (run, attempt) == key
        )

    def committed(self, tenant: str) -> int:
        own = [key for key, owner in self.owner.items() if owner == tenant]
        return sum(self.reserved(key) for key in own) + self.settled(tenant)

    def settled(self, tenant: str) -> int:
        return sum(parts.total_micro for key, (_, parts) in self.closed.items() if self.owner[key] == tenant)

    def set_limit(self, tenant: str, limit: int) -> str | None:
        if limit < self.committed(tenant):
            return "LIMIT_BELOW_COMMITTED"
        self.limits[tenant] = limit
        return None

    def reserve(self, tenant: str, key: tuple[str, int], amount: int) -> str | None:
        if key in self.first:
            return None if (self.owner[key], self.first[key]) == (tenant, amount) else "ALREADY_RESERVED"
        if tenant not in self.limits:
            return "UNKNOWN_TENANT"
        if self.committed(tenant) + amount > self.limits[tenant]:
            return "BUDGET_EXCEEDED"
        self.owner[key], self.first[key] = tenant, amount
        return None

    def extend(self, key: tuple[str, int], name: str, amount: int) -> str | None:
        if key not in self.first:
            return "UNKNOWN_RESERVATION"
        if (*key, name) in self.extensions:
            return None if self.extensions[*key, name] == amount else "ALREADY_EXTENDED"
        if key in self.closed:
            return "ATTEMPT_CLOSED"
        if self.committed(self.owner[key]) + amount > self.limits[self.owner[key]]:
            return "BUDGET_EXCEEDED"
        self.extensions[*key, name] = amount
        return None

    def close(self, how: str, key: tuple[str, int], parts: CostParts) -> str | None:
        if key not in self.first:
            return "UNKNOWN_RESERVATION"
        if key in self.closed:
            return None if self.closed[key] == (how, parts) else "ATTEMPT_CLOSED"
        if parts.total_micro > self.reserved(key):
            return "OVER_RESERVATION"
        self.closed[key] = (how, parts)
        return None


def code_of(call) -> str | None:
    try:
        call()
    except HeadraceError as error:
        return error.code
    return None


class LedgerMachine(RuleBasedStateMachine):
    """Random calls on a ledger and on the model; both must refuse the same ones and show the same sums."""

    def open(self) -> ControlStore:
        return MemoryDatabase()

    @initialize()
    def begin(self) -> None:
        self.database = self.open()
        self.ledger = self.database.ledger
        self.model = Model()

    @rule(tenant=st.sampled_from(TENANTS), limit=st.integers(0, 100))
    def set_limit(self, tenant: str, limit: int) -> None:
        expected = self.model.set_limit(tenant, limit)
        assert code_of(lambda: self.ledger.set_limit(tenant, PERIOD, limit, NOW)) == expected

    @rule(tenant=st.sampled_from(TENANTS), run=runs, attempt=attempts, amount=amounts)
    def reserve(self, tenant: str, run: str, attempt: int, amount: int) -> None:
        expected = self.model.reserve(tenant, (run, attempt), amount)
        assert code_of(lambda: self.ledger.reserve(tenant, PERIOD, run, attempt, amount, NOW)) == expected

    @rule(run=runs, attempt=attempts, name=st.sampled_from("xy"), amount=amounts)
    def extend(self, run: str, attempt: int, name: str, amount: int) -> None:
        expected = self.model.extend((run, attempt), name, amount)
        assert code_of(lambda: self.ledger.extend(run, attempt, name, amount, NOW)) == expected

    @rule(
        how=st.sampled_from(("settle", "expire")), run=runs, attempt=attempts, compute=amounts, boot=st.integers(0, 3)
    )
    def close(self, how: str, run: str, attempt: int, compute: int, boot: int) -> None:
        parts = CostParts(compute_micro=compute, boot_micro=boot)
        expected = self.model.close(how, (run, attempt), parts)
        assert code_of(lambda: getattr(self.ledger, how)(run, attempt, parts, NOW)) == expected

    @rule(run=runs, attempt=attempts, amount=amounts, tenant=st.sampled_from(TENANTS))
    def fail_after_reserving(self, run: str, attempt: int, amount: int, tenant: str) -> None:
        """A crash after the reservation and before the end of the transaction leaves nothing."""

        def crash() -> None:
            with self.database.transaction():
                self.ledger.reserve(tenant, PERIOD, run, attempt, amount, NOW)
                raise ZeroDivisionError

        try:
            crash()
        except (ZeroDivisionError, HeadraceError):
            return

    @invariant()
    def the_sums_are_the_models(self) -> None:
        for tenant in TENANTS:
            balance = self.ledger.balance(tenant, PERIOD)
            if tenant not in self.model.limits:
                assert balance is None
                continue
            settled = self.model.settled(tenant)
            shown = (balance.limit_micro, balance.reserved_micro, balance.settled_micro)
            assert shown == (self.model.limits[tenant], self.model.committed(tenant) - settled, settled)
            assert balance.settled_micro + balance.reserved_micro <= balance.limit_micro

    @invariant()
    def the_lines_add_up(self) -> None:
        assert problems_of(self.database) == []

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()


class SqliteLedgerMachine(LedgerMachine):
    """The same on a SQLite file."""

    def open(self) -> ControlStore:
        self.directory = Path(tempfile.mkdtemp(prefix="headrace-ledger-"))
        url = f"sqlite:///{self.directory}/control.db"
        migrate(url)
        return open_database(url)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)

TestSqliteLedger = SqliteLedgerMachine.TestCase
TestSqliteLedger.settings = settings(
    max_examples=4,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
