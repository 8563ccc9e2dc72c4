"""`evaluate cost`: what scoring costs, against CLIPScore, and what it would cost at scale."""
