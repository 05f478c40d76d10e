"""Delta and Iceberg tables: how a load's files are merged into them."""
