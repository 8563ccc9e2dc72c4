"""From teacher records to training data: even over scores, diverse over captions."""
