"""Facts about a user known before a moment, with a unit and a name in English and Chinese."""
