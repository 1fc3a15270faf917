"""Why: what moved a score, in which direction, and what would change it. Any predictor can be asked."""
