"""Sizes of both LLaVAs of the profile `paper`, as their published config.json has them: what is timed and counted."""

VISION = {  # llava-interleave-qwen-0.5b-hf: SigLIP so400m, of which the last block is left out
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16,
    "image_size": 384, "patch_size": 14, "vision_use_head": False, "hidden_act": "gelu_pytorch_tanh",
}  # fmt: skip
TEXT = {  # Qwen1.5-0.5B
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 16, "vocab_size": 152_000, "max_position_embeddings": 32_768, "tie_word_embeddings": True,
}  # fmt: skip
JUDGE_VISION = {  # llava-1.5-7b-hf: CLIP L/14 at 336 px
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14,
}  # fmt: skip
JUDGE_TEXT = {"vocab_size": 32_064}  # transformers' defaults are those of 7B
