"""The commands: what users type. Only here are prompts, pictures and the real environment."""
