"""Errors, one shallow tree. Each carries a code, what was wrong, where, and the remedy.

HeadraceError
├── InputError      the user's fault: exit status 2, nothing was changed
├── RefusedError    the user may be right but may not: permits, policy, residency at the site
├── BudgetError     money that is not there
├── ConflictError   somebody else was faster; take a new snapshot and try again
└── UnavailableError  a service did not answer; try again later
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of all errors that Headrace raises on purpose.

    Attributes:
        code: A stable, upper-case identifier that programs may compare.
        problem: What was wrong, for a person.
        where: The file, field, run or site concerned.
        remedy: What to do about it.
        retryable: Whether the same call may succeed later without a change.
    """

    exit_status = 1
    retryable = False

    def __init__(self, code: str, problem: str, where: str = "", remedy: str = "") -> None:
        self.code, self.problem, self.where, self.remedy = code, problem, where, remedy
        super().__init__(code, problem, where, remedy)

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        remedy = f" — {self.remedy}" if self.remedy else ""
        return f"{self.code}{place}: {self.problem}{remedy}"

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "problem": self.problem, "where": self.where, "remedy": self.remedy}


class InputError(HeadraceError, ValueError):
    """The caller's input is malformed, unknown or contradictory."""

    exit_status = 2


class RefusedError(HeadraceError):
    """The request is understood and not allowed."""

    exit_status = 2


class BudgetError(HeadraceError):
    """The money for it is not there."""

    exit_status = 2


class ConflictError(HeadraceError):
    """The world changed between looking and acting."""

    retryable = True


class UnavailableError(HeadraceError):
    """Something needed did not answer."""

    retryable = True
