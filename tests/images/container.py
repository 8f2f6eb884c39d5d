"""Runs an image as an engine would, by what util-linux has: no engine need be installed.

Mounts, processes, IPC and host name of its own; the image's user, without a capability; files read-only but
for what is mounted; 2 GiB of memory of its own for each process (RLIMIT_DATA; no control group is made).
The network is the caller's: what runs here listens on loopback.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.images.builds import Image
from tests.processes import children
from tests.waiting import wait_until

MEMORY_BYTES = 2 << 30
DEVICES = ("null", "zero", "random", "urandom")


class Container:
    """A process of an image; as a context manager it runs, and is killed in the end.

    `mounts` says which of this machine's folders it sees where; those in `writable` alone it may write to.
    `arguments` stand in place of the image's command.
    """

    def __init__(
        self,
        image: Image,
        log: Path,
        *arguments: str,
        mounts: Mapping[str, Path] | None = None,
        writable: Sequence[str] = (),
        **variables: str,
    ) -> None:
        self._image = image
        self._log = log
        self._mounts = dict(mounts or {})
        self._writable = writable
        self._command = [*(image.config.get("Entrypoint") or []), *(arguments or image.config["Cmd"])]
        given = [f"{name}={value}" for name, value in variables.items()]
        self._environment = [*image.config["Env"], *given]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        own = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork"]
        # The first process of the namespace becomes the image's: signals reach it as they do in a container.
        become = [*self._become(), *self._command]
        script = "\n".join(["set -e", *self._mounting(), f"exec {shlex.join(become)}"])
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*own, "sh", "-c", script], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            # With it ends all that it started. `unshare` cannot pass its own end on: the user has changed.
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait()

    def serving(self, said: str) -> str:
        """Waits until the log has what the pattern says, of which the first group is the answer."""
        wait_until(lambda: bool(re.search(said, self.text())) or self._ended())
        found = re.search(said, self.text())
        assert found, self.text()
        return found[1]

    def stop(self, seconds: float) -> int:
        """Sends SIGTERM; the exit status. Raises subprocess.TimeoutExpired after `seconds`."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs another command in it, as its user."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--ipc", "--uts"]
        inside = [*enter, *self._become(), *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)

    def healthy(self, ports: Mapping[str, str]) -> bool:
        """What the image's own check says; `ports`: those of the image -> those that it got here."""
        form, *check = self._image.config["Healthcheck"]["Test"]
        assert form == "CMD"
        for told, here in ports.items():
            check = [word.replace(told, here) for word in check]
        return self.execute(*check).returncode == 0

    @property
    def pid(self) -> int:
        """Its first process, as numbered outside."""
        assert self._process is not None
        (first,) = children(self._process.pid)
        return first

    def status(self) -> dict[str, str]:
        """What the kernel says of its first process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def text(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace")

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _mounting(self) -> list[str]:
        """Lays out what it sees, in a namespace that is its own already."""
        root = shlex.quote(str(self._image.root))
        lines = [
            f"mount --bind {root} {root}",
            f"mount -t proc -o nosuid,nodev,noexec proc {root}/proc",
            f"mount -t tmpfs -o nosuid,noexec,mode=755 tmpfs {root}/dev",
        ]
        lines += [
            f"touch {root}/dev/{name} && mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES
        ]
        for place, folder in self._mounts.items():
            lines.append(f"mkdir -p {root}{place} && mount --bind {shlex.quote(str(folder))} {root}{place}")
            if place not in self._writable:
                lines.append(f"mount -o remount,bind,ro {root}{place}")
        lines.append(f"mount -o remount,ro {root}/dev")
        lines.append(f"mount -o remount,bind,ro {root}")
        return lines

    def _become(self) -> list[str]:
        user, _, group = self._image.config["User"].partition(":")
        # Whoever is no longer root has no capability, and never gets one back.
        bare = ["setpriv", "--no-new-privs", "prlimit", f"--data={MEMORY_BYTES}"]
        bare += ["unshare", f"--root={self._image.root}", "--wd=/", f"--setuid={user}", f"--setgid={group}"]
        return [*bare, "env", "-i", *self._environment]
