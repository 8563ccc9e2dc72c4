"""Pairsift inside other tools. Each tool has a module, and only that module imports the tool.

All of them work as `pairsift score` does: undecoded bytes go into the checked decoder, every pair
gets a status, and conditions have the same meaning as in `pairsift select`.
"""
