"""Bits and air: entropy coding, the file format, channels."""
