"""What the service remembers: tables, sessions, migrations, and the questions asked of them by subject."""
