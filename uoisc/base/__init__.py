"""What all rooms need: errors, values and their checks, files, devices, processes."""
