"""Look at real rows: a local, read-only server with filters, paging and caption search."""

from pairsift.explore.server import explore, running_server

__all__ = ["explore", "running_server"]
