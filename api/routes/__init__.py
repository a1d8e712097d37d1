"""One module a subject: routes parse, call one function, return."""
