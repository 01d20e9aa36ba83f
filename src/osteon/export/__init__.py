"""From a trained network to one file that holds all it takes to ask it; only ``network_graph`` and ``export`` import torch."""
