"""Records, datasets, decoding, augmentation and sampling: from image files to batches."""
