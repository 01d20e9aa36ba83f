"""Systems side by side: grids of runs under one protocol."""
