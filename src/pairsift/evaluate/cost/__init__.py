"""`evaluate cost`: the cost of scoring compared with CLIPScore, and projected to large pools."""
