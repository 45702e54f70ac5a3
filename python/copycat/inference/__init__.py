"""A trained model applied to images and sequences, ranked over a plate, and exported."""
