"""From probabilities of one or several networks to an answer; never imports torch."""
