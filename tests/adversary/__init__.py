"""An adversary with a server of its own: what it breaks must be said, and be whole in the end."""
