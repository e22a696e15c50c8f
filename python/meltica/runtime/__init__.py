"""What supervised components share: life-cycle states, backoff, state writer, threads."""
