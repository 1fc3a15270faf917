"""Fitting: choose on validation cutoffs, then refit on all cutoffs that the log can label."""
