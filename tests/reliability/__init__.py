"""Each kind of trouble, injected many times: what is lost, what is twice, and what is said."""
