"""The search for a schedule: alphas, what a layer may have while it is undecided, the files that come of it."""
