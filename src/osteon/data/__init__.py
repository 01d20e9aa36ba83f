"""Reading, auditing, splitting and storing radiographs."""
