"""Greensplit's domain: from counts to safe, coordinated signal plans, in a traffic engineer's words."""

__version__ = "0.1.0"
