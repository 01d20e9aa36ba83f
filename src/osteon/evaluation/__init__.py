"""From predictions to figures with intervals, comparisons and the report."""
