"""Concept → caption → image: concept lists, prompts, language models that write, diffusion models that paint."""
