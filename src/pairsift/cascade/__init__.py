"""`cascade`: cheap scorers first, the expensive one only for pairs that they cannot decide.

    plan = make_plan(shards, ...)      thresholds, from a sample that all scorers score
    load_scorer("cascade", plan=...)   a scorer like any other; the plan is in its fingerprint

A cheap stage drops a pair whose value is below its `low`, and keeps a pair from its `high` on. The
next stage decides the pairs between; the full scorer decides the rest. The full scorer also scores
a fraction of all pairs, drawn by a hash. On these, `pairsift.cascade.audit` measures how far a
selection agrees with the one by full scoring. The sample that sets the thresholds and the audited
pairs are disjoint, so the measurement is not biased.
"""
