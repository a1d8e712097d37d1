"""Work that takes longer than a request may wait: what each kind does, and how it survives whatever dies."""
