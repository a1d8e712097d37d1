"""In and out: files of others become the domain's objects, and plans become files."""
