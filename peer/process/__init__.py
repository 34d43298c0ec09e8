"""What a process needs from its operating system: file descriptors, and a way to end."""
