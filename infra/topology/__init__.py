"""What a broker is to have, what one has, and making the one the other."""
