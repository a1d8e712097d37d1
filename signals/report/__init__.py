"""Figures as data and pages: `plans` of a plan set, `night` of a night's work on a city, `night_page` to read it."""
