"""What goes over HTTP, as the server and the client both know it: one module a subject.

What is given (`Given`) refuses fields that it doesn't know; what is shown (`Shown`) may grow by a field in a
later release. Every model brings an example, which the API's document shows.
"""
