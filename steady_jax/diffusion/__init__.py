"""Flow matching: noise levels, and what the networks' velocity means."""
