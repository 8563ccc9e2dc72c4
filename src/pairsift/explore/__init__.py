"""A local server to look at scored rows (filters, paging, caption search) and to label them."""

from pairsift.explore.server import explore, running_server

__all__ = ["explore", "running_server"]
