"""What becomes of a row: read, bound to the columns of the log, checked, and accounted for."""
