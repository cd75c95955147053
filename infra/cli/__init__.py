"""`oaas`: what a person types."""
