"""Building blocks of supervised components: life-cycle states, backoff, state writer, threads."""
