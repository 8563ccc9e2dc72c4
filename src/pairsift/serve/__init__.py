"""Scores over HTTP: one scorer behind `POST /score`, batched across requests.

What comes in is nobody's friend: bodies, images, queues, times and addresses are all bounded, and
a bad image is a row with a status, as everywhere in Pairsift.
"""

from pairsift.serve.server import running_server, serve
from pairsift.serve.settings import ServeSettings

__all__ = ["ServeSettings", "running_server", "serve"]
