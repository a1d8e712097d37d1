"""The domain's nouns: networks, phasing, plans and demand. Frozen, and free of arithmetic."""
