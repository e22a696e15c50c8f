"""Values that flow between packages: enums, symbols, orders and the ports. No I/O."""
