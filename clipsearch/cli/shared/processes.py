"""Services as child processes: started, waited for, and always stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from clipsearch.cli.shared.problems import Problem

_POLL_S = 0.05
_START_S = 60
_STOP_S = 30.0
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs: its `host:port` and its process."""

    address: str
    pid: int


def start(
    arguments: list[str], log: IO[bytes] | None = None, settings: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Runs `clipsearch serve ARGUMENTS`, its output into `log` (None: where ours goes).

    `settings` are variables that it has beside ours.

    In a session of its own: a Ctrl-C at the terminal reaches us alone, and we pass on one signal;
    a service takes a second one as an order to drop its calls.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "clipsearch.cli", "serve", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, **(settings or {})},
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to drain and end; kills it if it has not within 30 seconds."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def service(
    name: str, arguments: list[str], folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A service on a free port while the block runs, which begins once it is SERVING.

    Its log and port file lie in `folder`. Raises Problem, with the end of the log, if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port_file, log_file = folder / f"{name}.address", folder / f"{name}.log"
    deadline = time.monotonic() + _START_S
    with log_file.open("wb") as log:
        process = start([name, "--port", "0", "--port-file", str(port_file), *arguments], log, settings)
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise Problem(f"the {name} service ended with code {process.returncode}{_tail(log_file)}")
                if time.monotonic() > deadline:
                    raise Problem(f"the {name} service was not serving after {_START_S} s{_tail(log_file)}")
                time.sleep(_POLL_S)
            yield Running(port_file.read_text(encoding="utf-8").strip(), process.pid)
        finally:
            stop(process)


def _tail(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return "; the end of its log:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""


def memory_bytes(*services: Running) -> int | None:
    """What services have in memory, the processes that they started included; None where the system hides it.

    Pages of their files that are in memory count; pages that two processes share count twice.
    """
    sessions = {one.pid for one in services}
    pages = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if os.getsid(int(process.name)) in sessions:
                pages += int((process / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") if pages else None


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the block like an exception, so that what was started is stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_together(commands: dict[str, list[str]]) -> int:
    """Runs services until one of them ends or a signal comes, then stops all. Returns the exit code.

    SIGTERM and SIGINT are passed on to each; a second one too, which makes them drop their calls.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    signalled: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        signalled.append(number)
        for process in processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for name, arguments in commands.items():
            processes[name] = start(arguments)
        while True:
            ended = {name: code for name, p in processes.items() if (code := p.poll()) is not None}
            if signalled and len(ended) == len(processes):
                return max(abs(code) for code in ended.values())
            if ended and not signalled:
                name, code = next(iter(ended.items()))
                print(
                    f"error: the {name} service ended with code {code}; stopping the other", file=sys.stderr
                )
                return code if code > 0 else 1
            time.sleep(_POLL_S)
    finally:
        for process in processes.values():
            stop(process)
        for number, handler in before.items():
            signal.signal(number, handler)
