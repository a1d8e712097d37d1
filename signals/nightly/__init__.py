"""A whole city planned for a day, in tasks that any number of workers do."""
