"""Every knob once. Standard library only."""
