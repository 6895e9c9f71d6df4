"""CLIP and LLaVA, frozen: wrappers, weights, and the training of the small stand-ins."""
