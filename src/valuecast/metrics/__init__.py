"""Metrics: pure functions of (truth, prediction, weight) that return a number or a curve."""
