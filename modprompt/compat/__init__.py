"""Dassl: found, fixed, or stood in for by the small one of this project."""
