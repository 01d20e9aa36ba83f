"""Fitting a network and recording the run."""
