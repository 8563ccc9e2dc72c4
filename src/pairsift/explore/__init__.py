"""A local, read-only server to look at scored rows, with filters, paging and caption search."""

from pairsift.explore.server import explore, running_server

__all__ = ["explore", "running_server"]
