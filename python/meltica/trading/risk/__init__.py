"""Risk: the limits of three scopes, the rules for orders, and the reservations of open orders."""
