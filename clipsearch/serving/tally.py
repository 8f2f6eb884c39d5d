"""A count with a bound that may be kept by several processes together; by itself it is kept by one."""

from __future__ import annotations


class Tally:
    """`own` is this process's part, `total` that of all who keep the count."""

    own: int = 0

    @property
    def total(self) -> int:
        """The count, all processes together."""
        return self.own
