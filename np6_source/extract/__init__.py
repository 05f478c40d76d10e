"""What runs inside dlt's extract step."""
