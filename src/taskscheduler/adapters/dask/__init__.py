"""Handlers on a cluster of Dask: the extra ``dask``."""

from taskscheduler.adapters.dask.cluster import DaskEngine as DaskEngine
