"""Files that appear whole and are read safely; what a file means is known elsewhere."""
