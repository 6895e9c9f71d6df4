"""Sources of images, questions and answers."""
