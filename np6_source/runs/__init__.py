"""A run of a pipeline: what keeps it apart from others, and what the last one did."""
