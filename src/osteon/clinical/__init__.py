"""Answers where radiographs are read: structured reports, overlays, a DICOM node; never imports torch."""
