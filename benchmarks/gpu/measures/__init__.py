"""Measurements, a file for each: `measure(task, place)` gives what it found. benchmarks.gpu.plan has the table."""
