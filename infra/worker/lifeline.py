"""Processes that die with the one that started them, on Linux, by the kernel's own hand."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int | None = None, signal_number: int = signal.SIGKILL) -> None:
    """Let the kernel signal this process when the thread that started it ends.

    Args:
        parent_pid: The parent that is expected to be alive; when it is already gone, the process ends here.
        signal_number: What the kernel sends.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem), "prctl(PR_SET_PDEATHSIG)")
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)
