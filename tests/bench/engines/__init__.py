"""Matching engines on one order flow: the flow, and one adapter for each engine."""
