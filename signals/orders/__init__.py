"""From what somebody asks for to a job: what it covers, whose it is, and whether it can be asked for at all.

Nothing here computes a plan or a forecast; the job does, and finds everything that it needs to know in its row.
"""
