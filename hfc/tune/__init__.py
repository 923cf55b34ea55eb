"""`hfc tune`: the ways to multiply in decode, compared on the card that is here; what is faster than the default becomes a row of the user's table."""
