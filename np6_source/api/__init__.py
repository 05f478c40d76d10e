"""How NP6 is asked: a request in, a body in files out."""
