"""Pairsift inside other tools, each in a module of its own that imports the tool.

All of them go the way that `pairsift score` goes: undecoded bytes into the guarded decoder, a row
with a status for every pair, and conditions that `pairsift select` would read the same way.
"""
