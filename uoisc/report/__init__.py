"""From tidy tables of results to figures, tables, claims, the paper and the README."""
