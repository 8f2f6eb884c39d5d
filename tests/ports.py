"""The ports of servers that a test starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

# As a gRPC server's options. Else the kernel may give a free port, so it thinks, to the servers of two
# workers, and each gets some of the other's calls, or none where the other has gone.
OWN_PORT = [("grpc.so_reuseport", 0)]


@contextmanager
def kept_port() -> Iterator[int]:
    """A port of 127.0.0.1 for a server that goes and comes back.

    While it is away, a server of another worker that wants any port would get it one time in some
    thousands. So a socket has it that does not listen: who calls is refused, and a server may have the port
    by its number, if it sets SO_REUSEADDR as gRPC's do.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]
