"""The frames of a training in memory, and what follows from them."""
