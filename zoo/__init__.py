"""What the course gives: the street, the digits, the trained models and how they are scored."""
