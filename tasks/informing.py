"""What is shown to people must never stop the run that it tells of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")


def informs(function: Callable[P, None]) -> Callable[P, None]:
    """An artifact that cannot be shown is logged and must not stop the run that it tells of."""

    @wraps(function)
    def show(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logging.getLogger("headrace.artifacts").exception("the %s artifact could not be shown", function.__name__)

    return show
