"""Photographs and questions of others: VQA v2, manifests, and what opens any source."""
