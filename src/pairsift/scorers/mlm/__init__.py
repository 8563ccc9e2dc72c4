"""Score with multimodal language models: one pass per pair, exact score distributions."""
