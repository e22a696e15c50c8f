"""The control plane: REST over the gateway, one file per resource."""
