"""Who a caller is and what they may do: keys, sessions, signatures, limits."""
