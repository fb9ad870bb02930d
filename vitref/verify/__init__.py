"""Verification of what others compute, and of vitref's own checks."""
