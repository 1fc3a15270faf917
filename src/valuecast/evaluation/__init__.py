"""Evaluation: one predictor, a comparison of several, and the ladder of rungs over origins."""
