"""Remembers what was worked out from immutable inputs, for as long as the same objects are used again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def remembered(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the last ``size`` results of a pure function, found again when its arguments are the *same objects*.

    Comparing thousands of offers for equality costs more than most of what is worked out from them; whether two names
    stand for one object costs nothing. Arguments are positional and must never be changed.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kept: tuple[tuple[tuple[Any, ...], R], ...] = ()

        @wraps(function)
        def remembering_one(arg: Any) -> R:
            nonlocal kept
            for (part,), result in kept:
                if part is arg:
                    return result
            result = function(arg)  # type: ignore[call-arg]
            kept = (((arg,), result), *kept[: size - 1])
            return result

        @wraps(function)
        def remembering(*args: P.args, **kwargs: P.kwargs) -> R:
            nonlocal kept  # replaced as a whole, so that threads never see half of it
            for parts, result in kept:
                for part, arg in zip(parts, args, strict=True):
                    if part is not arg:
                        break
                else:
                    return result
            result = function(*args, **kwargs)
            kept = ((args, result), *kept[: size - 1])
            return result

        return remembering_one if function.__code__.co_argcount == 1 else remembering  # type: ignore[return-value]

    return decorate
