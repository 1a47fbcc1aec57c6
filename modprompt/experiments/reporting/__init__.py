"""What came of an experiment: tables, figures, a page."""
