"""Questions about a user at a moment: labels, eligibility, cutoffs and splits."""
