"""Streams to browsers: the hub, its subscribers, the channels."""
