"""Machines that are processes on this computer: for the simulated cloud and for a standing cluster.

``records`` files that tell, after any kill, what was started for whom · ``machine`` one such process, with a life of
its own · ``nursery`` forks machines from a process that has already imported Dask · ``cluster`` the machines as a
dask-cloudprovider cluster · ``keeper`` the one process that holds a lease's cluster · ``host`` forks keepers ·
``standing`` a supervised cluster that outlives runs · ``environment`` what little of it they inherit.
"""
