"""SQL views for analysts, one file each."""
