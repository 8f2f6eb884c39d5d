"""One port for several front ends: held by the session process, listened on by all of them."""

from __future__ import annotations

import socket

from clipsearch.serving.lifecycle import StartError


def hold_port(host: str, port: int) -> socket.socket:
    """A socket that has the port (0 = any free one) and never listens on it; front ends may.

    Nobody else's server can have the port: SO_REUSEPORT by itself would let a second service of the
    same user share it in silence, so it is set only once the port is ours alone.
    Raises StartError.
    """
    held: socket.socket | None = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        held = socket.socket(family, kind)
        # Connections of a service before us may still be in TIME_WAIT.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
    except OSError:
        if held is not None:
            held.close()
        raise StartError(
            f"cannot listen on {host}:{port}: the port is in use, or the address is not one of this machine"
        ) from None
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held
