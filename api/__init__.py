"""The web's door: HTTP in, one function of `signals` called, HTTP out."""
