"""Training data: manifests of examples and dialogues, augmentation, batches, the training stream, corpus recipes."""
