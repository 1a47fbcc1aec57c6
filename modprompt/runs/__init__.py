"""What a run is: its folder, its settings, its images, whether two runs are the same; nothing of prompts or methods."""
