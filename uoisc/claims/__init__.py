"""What is claimed, contrast by contrast: runs, values, verdicts, and whether another run agrees."""
