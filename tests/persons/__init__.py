"""Single persons in a dataset: who they are, and what is theirs."""
