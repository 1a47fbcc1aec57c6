"""The search for a schedule: alphas, layers with several options, and the files that a search writes."""
