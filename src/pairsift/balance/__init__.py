"""From teacher records to training data: balanced over scores, diverse over captions."""
