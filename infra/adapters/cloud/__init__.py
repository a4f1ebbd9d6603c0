"""Clusters that are started for one lease and held by a keeper process: what all share, and each one's part.

``kept`` a provider whose clusters are kept · ``tagged`` one whose machines are found by their tags · ``tags`` these ·
``holding`` a keeper's life · ``steps`` its start · ``machine_clusters`` providers of machines · ``order`` what these are to be ·
``user_data`` what one is told · ``machine_records`` what is written down · ``reclaim_notice`` that one is taken back ·
``accounts`` whose variables open a cloud · ``extras`` libraries that may be missing · ``preview`` what would be made.

EC2: ``ec2_arguments`` what the library is told · ``ec2_cluster`` its class with our machines · ``ec2_keeper`` holds one ·
``ec2_fleet`` finds and ends machines. Slurm: ``slurm_job``, ``slurm_cluster``, ``slurm_keeper``, ``slurm_queue`` and
``slurm_records``, the same. GCP, Azure and OpenStack: ``rendering``, ``machine_cluster``, ``machine_keeper``, ``machine_fleets``.
"""
