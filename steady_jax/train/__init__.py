"""Training: stages from reconstruction to distillation, and the trainer that runs them."""
