"""Sixteen signals on a grid of arterials and side streets: see README.md in this folder."""
