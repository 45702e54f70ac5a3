"""The network, its .cat file, where training starts from, and rendering in tiles."""
