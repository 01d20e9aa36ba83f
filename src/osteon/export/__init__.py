"""From a trained network to one file that holds all it takes to ask it; reading such a file never needs torch."""
