"""Who a caller is and what it may do: keys, sessions, signatures, limits."""
