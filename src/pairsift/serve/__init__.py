"""Scores over HTTP: one scorer behind `POST /score`, batched across requests.

Input is not trusted: the sizes of bodies, images and queues, times and addresses are limited. A bad
image becomes a row with a status, as in all of Pairsift.
"""

from pairsift.serve.server import running_server, serve
from pairsift.serve.settings import ServeSettings

__all__ = ["ServeSettings", "running_server", "serve"]
