"""Honest baselines: heuristics, customer-base models, aggregates with boosted trees."""
