"""How many bytes have come in on a connection, as the kernel counts them.

gRPC does not tell how much it holds of a message that has not arrived whole.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# In the kernel's struct tcp_info (include/uapi/linux/tcp.h), since Linux 4.1.
_BYTES_RECEIVED = 128
_COUNT = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class _Descriptor:
    """A socket of gRPC's: its number, which is given anew when it is closed, and its inode, which is not."""

    number: int
    family: int
    inode: int

    def received(self) -> int | None:
        """Bytes that the kernel has received; None = it is closed, or that is not told."""
        try:
            if os.fstat(self.number).st_ino != self.inode:
                return None
            borrowed = socket.socket(self.family, socket.SOCK_STREAM, fileno=self.number)
        except OSError:
            return None
        try:
            info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
            return int(_COUNT.unpack_from(info, _BYTES_RECEIVED)[0])
        except (OSError, struct.error):
            return None
        finally:
            borrowed.detach()  # it is not ours to close


class Connections:
    """Finds the sockets of this process by whom they come from. Linux only: elsewhere it knows nothing."""

    def __init__(self) -> None:
        self._descriptors: dict[str, _Descriptor] = {}

    def received(self, peer: str) -> int | None:
        """Bytes received from `peer`, gRPC's name of a caller such as `ipv4:127.0.0.1:40000`.

        Without TLS's and HTTP/2's own taken off. None = there is no such connection, or it is not told.
        """
        if sys.platform != "linux":
            return None
        found = self._descriptors.get(peer)
        count = found.received() if found is not None else None
        if count is None:
            self._descriptors = _descriptors()
            found = self._descriptors.get(peer)
            count = found.received() if found is not None else None
        return count


def _descriptors() -> dict[str, _Descriptor]:
    """The connections that there are now."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        number = int(path.name)
        try:
            borrowed = socket.socket(fileno=number)
        except OSError:  # not a socket, or closed since
            continue
        try:
            name = _name(borrowed)
            if name is not None:
                found[name] = _Descriptor(number, borrowed.family, os.fstat(number).st_ino)
        except OSError:
            continue
        finally:
            borrowed.detach()
    return found


def _name(connection: socket.socket) -> str | None:
    """As gRPC calls whom the socket is connected to; None = it is no connection of TCP."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        host, port, *_ = connection.getpeername()
    except OSError:
        return None
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    plain = host.partition("%")[0]
    mapped = ipaddress.IPv6Address(plain).ipv4_mapped
    return f"ipv4:{mapped}:{port}" if mapped is not None else f"ipv6:%5B{quote(host, safe=':')}%5D:{port}"
