"""What goes on without a flow: arrivals of data, waking of waiting runs, the ends of orphans, the reaper."""
