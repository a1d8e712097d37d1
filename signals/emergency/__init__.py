"""A way through for an ambulance: signals along its route hold green in time, and return to coordination."""
