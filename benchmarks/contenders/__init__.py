"""The accountants that are measured, one small adapter each."""
