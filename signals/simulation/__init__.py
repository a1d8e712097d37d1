"""What a plan does in the street, measured in SUMO: single runs, and plans side by side over paired seeds."""
