"""Twenty-one signals on seven kilometres, a saturated morning peak; see README.md for the network."""
