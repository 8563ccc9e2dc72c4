"""Measure how good a scorer is: agreement with people, and hard negatives.

`human`  correlation with human judgments, each set by the protocol of its literature.
`pairs`  how often the right caption beats a wrong one.
"""
