"""Answers of the judges, match rates, controls and their intervals."""
