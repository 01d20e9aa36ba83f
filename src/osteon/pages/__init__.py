"""Self-contained HTML pages and the style of figures, shared by the audit, the explorer and the report."""
