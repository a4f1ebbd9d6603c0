"""Clusters that are started for one lease and held by a keeper process: what all such providers share, and EC2's part.

``kept`` a provider whose clusters are kept · ``holding`` a keeper's life · ``ec2_cluster`` dask-cloudprovider's cluster
class with our machines · ``ec2_user_data`` what a machine is told · ``ec2_keeper`` holds one · ``ec2_fleet`` finds and
ends machines by their tags, whoever started them.
"""
