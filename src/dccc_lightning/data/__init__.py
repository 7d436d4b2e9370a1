"""From image files to batches: records, datasets, decoding, augmentation, sampling."""
