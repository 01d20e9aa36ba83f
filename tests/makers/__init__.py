"""Makers of the data that several tests share."""
