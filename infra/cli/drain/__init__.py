"""Dead letters from the broker into a file and back, byte for byte, while there is no desk."""
