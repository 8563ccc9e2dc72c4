"""`cascade`: cheap scorers first, the expensive one only where the decision at a cut is open.

    plan = make_plan(shards, ...)      thresholds, from a sample that all scorers read
    load_scorer("cascade", plan=...)   a scorer like any other; the plan is in its fingerprint

A pair whose value by a cheap scorer is below that stage's `low` is given up, from `high` on it is
taken; in between the next stage decides, at last the full scorer. A share of all pairs, drawn by a
hash, is read by the full scorer in any case: on these `pairsift.cascade.audit` measures how far
a selection agrees with the one that full scoring would make. The sample that set the thresholds
and the audited pairs have no pair in common, so that the measurement is honest.
"""
