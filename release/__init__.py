"""Makes releases: wheels, the sdist, their sums, and the release notes."""
