"""What is measured, a file each: `measure(task, place)` gives what was found. benchmarks.gpu.plan has the table."""
