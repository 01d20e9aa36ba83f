"""The reading page and its HTTP API, over the predictor; never imports torch."""
