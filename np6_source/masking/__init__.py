"""A dataset that is there, brought under a policy: rows stay, and values become digests or NULL."""
