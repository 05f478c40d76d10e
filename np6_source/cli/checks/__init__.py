"""The steps of ``np6-source check``: each says what it finds, and none changes anything."""
