"""Results of an experiment: tables, figures, a page."""
