"""What a process asks of its operating system: files it may open, and how it ends."""
