"""SUMO's files: scenarios, networks, programs and demand in, plans out."""
