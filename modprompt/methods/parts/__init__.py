"""What several methods share: learners, losses, teachers, averages, the step, settings in groups."""
