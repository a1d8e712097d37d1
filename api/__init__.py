"""The web room: plans on request, for people who work in a browser or another program.

Routes parse a request, call one function of :mod:`signals` and return its answer. This process stays light:
it loads neither numba nor OR-Tools, writes a job, and a worker plans (contract "light-web", pyproject.toml).

The routes, their schemas and the pages come with the Service; until then there is the ``greensplit`` command.
"""
