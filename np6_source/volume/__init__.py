"""How much there is to load, estimated from small samples. Pure: knows nothing of HTTP or dlt."""
