"""From the file of a response's body to Arrow tables."""
