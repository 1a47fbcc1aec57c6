"""Dassl: finding and fixing it, or this project's small one in its place."""
