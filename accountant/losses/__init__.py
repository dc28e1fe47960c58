"""One family of privacy losses per module."""
