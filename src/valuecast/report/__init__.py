"""Report: what was found. Tables, figures and facts; prints in a terminal, renders to one HTML page."""
