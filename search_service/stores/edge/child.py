"""What the Edge store's child processes do first: ignore a Ctrl-C, and never outlive the service."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become_child(parent: int) -> None:
    """Leaves it to the process `parent` to end this one, and dies with it.

    Where the operating system has no signal for that, an engine notices by the end of its socket.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked for the signal
        sys.exit("the service has gone")
