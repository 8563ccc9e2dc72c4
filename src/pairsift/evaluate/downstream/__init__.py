"""Compare filters by the accuracy of a small model that is trained on what each one keeps."""
