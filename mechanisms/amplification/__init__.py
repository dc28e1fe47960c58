"""Amplification of correlated noise by what is secret about who takes part when."""
