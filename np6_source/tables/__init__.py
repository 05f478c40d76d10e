"""What dlt is told about the tables."""
