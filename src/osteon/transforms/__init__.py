"""Preprocessing and augmentation of batches of grey images."""
