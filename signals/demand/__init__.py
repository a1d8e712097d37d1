"""Demand: how many want to go where and when, as counts per intersection and movement."""
