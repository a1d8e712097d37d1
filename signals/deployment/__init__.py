"""From an approved plan to controllers that run it, and back: push one unit, roll out over many, keep, release."""
