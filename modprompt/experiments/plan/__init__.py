"""What an experiment runs."""
