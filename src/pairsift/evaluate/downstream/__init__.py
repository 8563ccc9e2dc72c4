"""What a filter is worth to the model that is trained on what it keeps."""
