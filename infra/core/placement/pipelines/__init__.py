"""A whole pipeline placed together: `decide` is the door, `problem` what is known, `search` finds, `schedule` and `sharing` time it."""
