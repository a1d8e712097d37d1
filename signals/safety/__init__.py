"""Safety: clearance times, and the check that every plan must pass. Shares no code with timing."""
