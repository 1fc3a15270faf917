"""Answers to a task: the Predictor contract, the baselines, calibration and intervals."""
