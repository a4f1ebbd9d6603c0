"""``python -m infra.worker.main --pool NAME``: one worker, until it is told to end or whoever started it is gone.

Kept small on purpose: forked processes import this module again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.worker.main", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", required=True, help="the work pool: `control`, or a site's name")
    parser.add_argument("--site", help="the site, when it shall be checked that the pool is that site's")
    parser.add_argument("--name", help="the worker's name in the Prefect UI")
    parser.add_argument("--outlive-parent", action="store_true", help="go on when the starting process ends")
    options = parser.parse_args(arguments)
    if not options.outlive_parent:
        from infra.processes import die_with_parent

        die_with_parent(os.getppid(), signal.SIGTERM)
    from infra.core.errors import HeadraceError
    from infra.worker.service import serve

    try:
        serve(options.pool, options.site, options.name)
    except HeadraceError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
