"""Companion of "Generalized User-Oriented Image Semantic Coding Empowered by Large Vision-Language Model".

Start reading at `uoisc/codec.py`. Nothing is imported here: `uoisc --help` answers before torch is loaded.
"""
