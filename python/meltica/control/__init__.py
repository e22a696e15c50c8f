"""The control plane: REST over the gateway, one controller per resource."""
