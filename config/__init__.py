"""What every package shares: configuration sections, the exception tree, the command line, progress."""
