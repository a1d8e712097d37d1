"""Eight signals along a US-style arterial in the morning peak: see README.md in this folder."""
