"""What a rollout remembers: one file per published policy, all behind `base.MemoryPolicy`."""
