"""The start of a cluster in steps, each with a deadline and named when it is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class NoCapacity(RuntimeError):
    """A cloud has no such machine to give, here and now. The text begins with ``NO_CAPACITY``."""


class StartSteps:
    """Mixed into clusters: what their start is at."""

    @property
    def doing(self) -> str:
        """The steps that are under way."""
        return " and ".join(dict.fromkeys(self._steps)) or "starting"

    @property
    def _steps(self) -> list[str]:
        # Kept here and not made by a constructor: the library's constructors begin with their own.
        found: list[str] = self.__dict__.setdefault("_under_way", [])
        return found

    @asynccontextmanager
    async def step(self, what: str, timeout_s: float) -> AsyncIterator[None]:
        """A step of the start with a deadline; its name is in the error.

        Raises:
            NoCapacity: As it is.
            RuntimeError: For all other errors.
        """
        self._steps.append(what)
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            raise RuntimeError(f"{what}: not done within {timeout_s:g} s") from None
        except NoCapacity:
            raise
        except Exception as problem:
            raise RuntimeError(f"{what}: {problem}") from problem
        finally:
            self._steps.remove(what)


async def answers(host: str, port: int) -> bool:
    """Whether somebody takes a connection there."""
    try:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
