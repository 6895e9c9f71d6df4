"""One picture, one question, all the way: the project page, and what notebook 11 shows live."""
