"""Data: sources of images, positive pairs, sampling, and the pipeline to batches of pixels."""
