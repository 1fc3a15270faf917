"""Histories as sequences of events: what an event is made of, windows of them, and batches for a network."""
