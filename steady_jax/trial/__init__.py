"""A student on trial: its videos of fresh prompts beside those of other sources, named by a classifier and measured."""
