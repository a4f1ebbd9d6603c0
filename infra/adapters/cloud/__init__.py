"""Clusters that are started for one lease and held by a keeper process: what all share, and each one's part.

``kept`` a provider whose clusters are kept · ``tagged`` one whose machines are found by their tags · ``tags`` these ·
``holding`` a keeper's life · ``ec2_cluster`` dask-cloudprovider's cluster class with our machines · ``ec2_user_data`` what
a machine is told · ``ec2_keeper`` holds one · ``ec2_fleet`` finds and ends machines, whoever started them ·
``slurm_cluster``, ``slurm_keeper``, ``slurm_queue`` the same for jobs of Slurm.
"""
