"""Files that appear whole and are read safely; settings, records and results of runs, and the identity of a run."""
