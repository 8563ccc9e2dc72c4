"""The demo: real photographs with right and wrong captions, run through all steps."""
