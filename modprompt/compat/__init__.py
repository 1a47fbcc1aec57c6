"""Dassl: found, mended, or stood in for by the small one of this project."""
