"""Runs a site's standing cluster: ``python -m infra.adapters.local_cloud.serve --site SITE --devices N --state-dir DIR``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from infra.adapters.local_cloud.environment import machine_environment
from infra.core.errors import HeadraceError


def main(arguments: list[str] | None = None) -> int:
    """Run a site's standing cluster in this process until it is told to end or its parent is gone."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--site", required=True)
    parser.add_argument("--devices", required=True, type=int)
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--preload", action="append", default=[], help="a module that workers have imported already")
    options = parser.parse_args(arguments)
    # Whatever secrets were inherited, machines do not see them; and it precedes the imports that read some of it.
    environment = machine_environment(options.state_dir)
    os.environ.clear()
    os.environ.update(environment)
    from infra.adapters.local_cloud.standing import run_standing_cluster

    try:
        run_standing_cluster(options.site, options.devices, options.state_dir, tuple(options.preload))
    except HeadraceError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
