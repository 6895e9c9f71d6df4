"""Images, queries and answers, and the scenes of drawings with their questions."""
