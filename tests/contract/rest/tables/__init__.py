"""The tables of cases, one file for each kind of resource."""
