"""The stages as DVC and `make` run them: notebooks, their code's digests, plans; the commands for that."""
