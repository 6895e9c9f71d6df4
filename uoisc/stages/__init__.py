"""What each notebook and each command calls: one module a stage."""
