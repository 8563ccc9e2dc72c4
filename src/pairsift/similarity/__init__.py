"""Measures from embeddings, to use with a quality score: NormSim, negCLIPLoss, semantic
duplicates.
"""
