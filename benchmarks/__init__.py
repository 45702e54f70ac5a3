"""One file per question; each prints a table, and the command line that makes it again."""
