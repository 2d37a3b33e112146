"""What happens around a rollout: video, preview, progress and settings, written as frames arrive."""
