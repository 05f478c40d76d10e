"""Delta and Iceberg tables: how loads merge into them, and how persons are found in their files."""
