"""How the runs of an experiment are started, watched and ended."""
