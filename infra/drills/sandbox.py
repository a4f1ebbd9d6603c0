"""A platform that a drill may hurt: its own home, its own configuration, its own life."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra.core.errors import InputError, UnavailableError
from infra.drills.platform import FAULTS_DIR, Platform
from infra.faults import FAULTS
from infra.platform.control import living_report, take_down
from infra.settings import CLOUD_PREFIX, PACKAGE_DIR, Settings

MARK = ".drill"
"""Name of a file that says that a directory is a drill's, to be emptied by the next one."""

CONFIGURATION = ("sites", "policies", "tenants.yaml", "rates.yaml")


def sandbox_environment(home: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A person's environment with another home and armed points in it, and nothing of another platform but its clouds."""
    inherited = {
        key: value
        for key, value in environ.items()
        if key.startswith(CLOUD_PREFIX) or not key.startswith(("HEADRACE_", "PREFECT_"))
    }
    return {**inherited, "HEADRACE_HOME": str(home), FAULTS: str(home / FAULTS_DIR)}


class Sandbox(Platform):
    """A platform of a drill's own. Use it as a context: it is up inside, and afterwards down to the last process.

    Args:
        home: Made if needed; what lies there of an earlier drill is removed.
        say: Told, in one line each, what goes on.
        config: Sites, policies, tenants and rates that it starts with.
    """

    def __init__(self, home: Path, say: Callable[[str], None], config: Path = PACKAGE_DIR) -> None:
        self.home, self._config = home.absolute(), config
        environment = sandbox_environment(self.home) | {"HEADRACE_CONFIG": str(self.home / "config")}
        super().__init__(Settings.from_env(environment), environment, say)
        self._open = ExitStack()

    def __enter__(self) -> Sandbox:
        self._empty()
        config = self.settings.config_dir
        config.mkdir(parents=True, mode=0o700)
        (self.home / MARK).touch()
        for name in CONFIGURATION:
            source = self._config / name
            if not source.exists():
                raise InputError(
                    "CONFIG_MISSING", "it is not there", str(source), f"give all of {', '.join(CONFIGURATION)}"
                )
            shutil.copytree(source, config / name) if source.is_dir() else shutil.copy(source, config / name)
        try:
            self.up()
        except BaseException:
            take_down(self.settings, self.say)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        take_down(self.settings, self.say)

    def _empty(self) -> None:
        """Remove an earlier drill's home.

        Raises:
            InputError: ``NOT_A_DRILL_HOME`` for a directory with anything else in it.
        """
        if self.home.exists() and any(self.home.iterdir()) and not (self.home / MARK).exists():
            remedy = "name another directory, or an empty one"
            raise InputError("NOT_A_DRILL_HOME", "it holds other files, and would be emptied", str(self.home), remedy)
        take_down(self.settings, self.say)
        shutil.rmtree(self.home, ignore_errors=True)

    def up(self) -> None:
        """Bring up whatever does not run."""
        status, out, err = self.cli("up")
        if status != 0:
            raise UnavailableError("DRILL_FAILED", (err or out).strip(), str(self.home), "see its logs")
        # Whatever this process asks of Prefect from now on, it asks of this platform.
        self._open.enter_context(temporary_settings({PREFECT_API_URL: living_report(self.settings).api_url}))
        self.attach(self._open.enter_context(get_client(sync_client=True)))
        self._open.callback(self.control.database.close)
