"""Secure sums: a server learns the sum of its clients' vectors and nothing else. Imports nothing of the other packages."""
