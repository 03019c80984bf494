"""What the tests that talk to the real binary share."""
