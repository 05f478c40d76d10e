"""Single persons in a dataset: found, shown to themselves, erased."""
