"""What the reference leaves open, found out for one account. Pure: knows nothing of HTTP or dlt."""
