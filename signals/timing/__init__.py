"""Timing: what a plan does to traffic, and which plan does it best. Wrappers over the kernels."""
