"""What embeddings tell beside a quality score: NormSim, negCLIPLoss, semantic duplicates."""
