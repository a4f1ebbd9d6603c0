"""Clouds that run on one machine, for tests, drills and trials: ``ec2`` is EC2, S3 and STS on loopback, with real machines;
``slurm`` a real Slurm with one node.

``ec2`` the emulator and its command · ``api`` the cloud's HTTP side and its faults · ``hypervisor`` turns instances
into machines · ``machine`` one of them: boots, runs its user-data, ends · ``user_data`` what cloud-init would do ·
``network`` namespaces, a bridge, partitions and thin wires · ``metadata`` the address 169.254.169.254.

Needs root and iproute2. :func:`tests.clouds.ec2.missing` says why it cannot run here.
"""
