"""The port of a server that a test starts."""

from __future__ import annotations

# As a gRPC server's options. Else the kernel may give a free port, so it thinks, to the servers of two
# workers, and each gets some of the other's calls, or none where the other has gone.
OWN_PORT = [("grpc.so_reuseport", 0)]
