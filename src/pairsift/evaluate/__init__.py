"""Measure the quality of a scorer: agreement with people, and hard negatives.

`human`       correlation with human judgments, by the protocol of each benchmark.
`pairs`       how often the right caption scores above a wrong one.
`cost`        speed and memory of scorers.
`downstream`  accuracy of a small model that is trained on what each filter keeps.
"""
