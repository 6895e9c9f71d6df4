"""Commands of `uoisc` that are for the pipeline, not for an image."""
