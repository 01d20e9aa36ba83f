"""The reading page and its HTTP API over the predictor; needs the extra ``serve``, never torch."""
