"""Metrics, intervals, calibration measures and paired tests, on arrays; no tables, no figures."""
