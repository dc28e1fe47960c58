"""Exact, certified privacy accounting: what a differentially private computation costs."""
