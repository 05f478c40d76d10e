"""What changes a dataset around a load: reloads, new columns, moved events, what goes by age."""
