"""A stand-in, see tests.clouds.stand_in."""
