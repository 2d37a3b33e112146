"""What training reads: records, sources of items, batches, and procedural clips."""
