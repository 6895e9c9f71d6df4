"""Standard image codecs, and how files cross a link."""
