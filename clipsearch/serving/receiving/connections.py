"""How many bytes have come in on a connection, as the kernel counts them.

gRPC does not tell how much it holds of a message that has not arrived whole.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

# In the kernel's struct tcp_info (include/uapi/linux/tcp.h), since Linux 4.1.
_BYTES_RECEIVED = 128
_COUNT = struct.Struct("=Q")


class _Borrowed(socket.socket):
    """The socket of a descriptor, which is gRPC's to close. Raises OSError if it is none."""

    def __exit__(self, *_: object) -> None:
        self.detach()


class Connections:
    """Finds the sockets of this process by whom they come from. Linux only: elsewhere it knows nothing."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Any]] = {}  # descriptor and address

    def received(self, peer: str) -> int | None:
        """Bytes received from `peer`, gRPC's name of a caller such as `ipv4:127.0.0.1:40000`.

        Without TLS's and HTTP/2's own taken off. None = there is no such connection, or it is not told.
        """
        if sys.platform != "linux":
            return None
        count = self._count(peer)
        if count is None:
            self._known = _connections()
            count = self._count(peer)
        return count

    def _count(self, peer: str) -> int | None:
        known = self._known.get(peer)
        if known is None:
            return None
        number, address = known
        try:
            with _Borrowed(fileno=number) as connection:
                if connection.getpeername() != address:  # closed, and its number given anew
                    return None
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
                return int(_COUNT.unpack_from(info, _BYTES_RECEIVED)[0])
        except (OSError, struct.error):
            return None


def _connections() -> dict[str, tuple[int, Any]]:
    """Those that there are now, by gRPC's name of the caller."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        number = int(path.name)
        try:
            with _Borrowed(fileno=number) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    address = connection.getpeername()
                    found[_name(*address[:2])] = number, address
        except OSError:  # no socket, not connected, or closed since
            continue
    return found


def _name(host: str, port: int) -> str:
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    plain = host.partition("%")[0]
    mapped = ipaddress.IPv6Address(plain).ipv4_mapped
    return f"ipv4:{mapped}:{port}" if mapped is not None else f"ipv6:%5B{quote(host, safe=':')}%5D:{port}"
