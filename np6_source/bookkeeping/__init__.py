"""What is noted beside the events: who was erased, which policies, where histories began."""
